package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"unicode"
)

// maxForeignText bounds what an error shows of an answer that is not the API's: 200 bytes.
const maxForeignText = 200

// foreignText returns the first line of an answer that is not of the API's shape,
// a proxy's say, and what to do where that is known.
func foreignText(body []byte) string {
	line, _, _ := strings.Cut(strings.TrimSpace(string(body)), "\n")
	line = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, line[:min(len(line), maxForeignText)])
	if text := string(body); strings.Contains(text, "HTTPS server") || strings.Contains(text, "HTTPS port") {
		return line + "; give the endpoint as https://host:port, and --ca"
	}
	return line
}

// withHint adds to shown, an error of a request without an answer, what to do
// about it where cause, all of the error, tells what is likely wrong.
func withHint(shown, cause error) error {
	if hint := hintFor(cause); hint != "" {
		return fmt.Errorf("%w; %s", shown, hint)
	}
	return shown
}

// hintFor returns what may be wrong with an endpoint that a request failed at with err.
func hintFor(err error) string {
	var authority x509.UnknownAuthorityError
	var record tls.RecordHeaderError
	switch {
	case errors.Is(err, http.ErrSchemeMismatch):
		return "this node serves plain HTTP: give the endpoint as http://host:port"
	case errors.As(err, &authority):
		return "--ca names the file of the authorities that sign the nodes' certificates"
	case errors.As(err, &record), strings.Contains(err.Error(), "malformed HTTP"):
		return "this is no HTTP API: --endpoints takes what the nodes have as --http-addr, as https://host:port if they have --tls-cert"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF),
		errors.Is(err, net.ErrClosed), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return "the connection was closed without an answer: if that stays so, check that the endpoint is a node's --http-addr, " +
			"neither its peer nor its gossip address, and that it begins with https:// if the node has --tls-cert"
	}
	return ""
}
