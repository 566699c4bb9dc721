package main

import (
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"net"
	"os"
	"strings"

	"github.com/spf13/pflag"

	"github.com/kvorum/kvorum/transport"
)

// secureOptions are the flags of server for TLS and for the encryption of gossip.
type secureOptions struct {
	cert, key, ca string // PEM files
	gossipKey     string // file
}

func (o *secureOptions) addFlags(f *pflag.FlagSet) {
	f.StringVar(&o.cert, "tls-cert", "", "PEM file of this node's certificate, for peers and HTTPS; read again when it changes, and at SIGHUP")
	f.StringVar(&o.key, "tls-key", "", "PEM file of its key")
	f.StringVar(&o.ca, "tls-ca", "", "PEM file of the authorities that sign the certificates of all nodes")
	f.StringVar(&o.gossipKey, "gossip-key-file", "", "file with a key of 16, 24 or 32 bytes in base64, the same on all nodes, that encrypts gossip")
}

func (o *secureOptions) validate() error {
	if given := o.cert != "" || o.key != "" || o.ca != ""; given && (o.cert == "" || o.key == "" || o.ca == "") {
		return usagef("--tls-cert, --tls-key and --tls-ca go together")
	}
	return nil
}

// load reads the files that the flags name. files is nil without TLS, gossipKey is nil
// without encryption of gossip.
func (o *secureOptions) load() (files *transport.TLSFiles, gossipKey []byte, err error) {
	if o.cert != "" {
		if files, err = transport.LoadTLSFiles(o.cert, o.key, o.ca); err != nil {
			return nil, nil, &usageError{err}
		}
		if err := files.Check(); err != nil {
			return nil, nil, &usageError{fmt.Errorf("peers would refuse this node: %w", err)}
		}
	}
	if o.gossipKey == "" {
		return files, nil, nil
	}
	text, err := os.ReadFile(o.gossipKey)
	if err != nil {
		return nil, nil, usagef("--gossip-key-file: %v", err)
	}
	gossipKey, err = base64.StdEncoding.DecodeString(strings.TrimSpace(string(text)))
	if n := len(gossipKey); err != nil || (n != 16 && n != 24 && n != 32) {
		return nil, nil, usagef("--gossip-key-file %s does not hold 16, 24 or 32 bytes in base64", o.gossipKey)
	}
	return files, gossipKey, nil
}

// overTLS returns l over TLS with the newest certificate of files. Clients need no certificate.
func overTLS(l net.Listener, files *transport.TLSFiles) net.Listener {
	server := files.TLS().Server
	return tls.NewListener(l, &tls.Config{
		MinVersion: tls.VersionTLS13,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			newest, err := server()
			if err != nil {
				return nil, err
			}
			return &newest.Certificates[0], nil
		},
	})
}
