package client

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"syscall"
	"unicode"
)

// maxForeignText is the maximum number of bytes that an error shows of an answer that is
// not the API's: 200.
const maxForeignText = 200

// foreignText returns the first line of an answer that does not have the API's form, a
// proxy's for instance. It adds a hint if the remedy is known.
func foreignText(body []byte) string {
	line, _, _ := strings.Cut(strings.TrimSpace(string(body)), "\n")
	line = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, line[:min(len(line), maxForeignText)])
	if text := string(body); strings.Contains(text, "HTTPS server") || strings.Contains(text, "HTTPS port") {
		return line + "; give the endpoint as https://host:port, and Config.CAFile"
	}
	return line
}

// explain returns the error for the user of a request that got err and no answer. conn is
// the request's connection, or nil.
func explain(ctx context.Context, err error, conn *net.Conn) error {
	reason := transportReason(ctx, err)
	if conn == nil || ctx.Err() != nil {
		return withHint(reason, err)
	}
	if foreign := foreignSpeech(*conn); foreign != nil {
		return foreign
	}
	if hintFor(err) == "" && heardNothing(*conn) {
		return withHint(reason, io.ErrUnexpectedEOF)
	}
	return withHint(reason, err)
}

// transportReason returns a short form of err, the error of a request without a whole
// answer.
func transportReason(ctx context.Context, err error) error {
	var timeout *timeoutError
	switch cause := context.Cause(ctx); {
	case errors.As(cause, &timeout):
		return timeout
	case errors.Is(cause, context.DeadlineExceeded):
		return errors.New("no answer before the context's deadline")
	case cause != nil:
		return errors.New("interrupted")
	}
	return netReason(err)
}

// endedOr returns an error that matches the end of ctx, or err if ctx has not ended.
func endedOr(ctx context.Context, err error) error {
	switch cause := context.Cause(ctx); {
	case cause == nil:
		return err
	case errors.Is(cause, context.DeadlineExceeded):
		return cause
	default:
		return errors.Join(ctx.Err(), cause)
	}
}

// netReason returns a network error without its request, operation and addresses, which
// the message has anyway.
func netReason(err error) error {
	var ue *url.Error
	if errors.As(err, &ue) {
		err = ue.Err
	}
	var oe *net.OpError
	if errors.As(err, &oe) {
		err = oe.Err
	}
	var se *os.SyscallError
	if errors.As(err, &se) {
		return se.Err
	}
	return err
}

// withHint adds a hint to reason, the error of a request without an answer, if cause, the
// complete error, shows what is likely wrong.
func withHint(reason, cause error) error {
	if hint := hintFor(cause); hint != "" {
		return fmt.Errorf("%w; %s", reason, hint)
	}
	return reason
}

// noAPIHint is the hint for an endpoint that speaks another protocol.
const noAPIHint = "this is no HTTP API: Config.Endpoints takes what the nodes have as --http-addr, as https://host:port if they have --tls-cert"

// hintFor returns a hint about the endpoint at which a request failed with err, or "".
func hintFor(err error) string {
	var authority x509.UnknownAuthorityError
	var record tls.RecordHeaderError
	switch {
	case errors.Is(err, http.ErrSchemeMismatch):
		return "this node serves plain HTTP: give the endpoint as http://host:port"
	case errors.As(err, &authority):
		return "Config.CAFile names the file of the authorities that sign the nodes' certificates"
	case errors.As(err, &record), strings.Contains(err.Error(), "malformed HTTP"):
		return noAPIHint
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF),
		errors.Is(err, net.ErrClosed), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return "the connection was closed without an answer: if that stays so, check that the endpoint is a node's --http-addr, " +
			"neither its peer nor its gossip address, and that it begins with https:// if the node has --tls-cert"
	}
	return ""
}
