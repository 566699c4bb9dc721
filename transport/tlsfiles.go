package transport

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// TLSFiles are a certificate, its key, and the authorities that sign the
// certificates of all nodes, in PEM files. It is safe for concurrent use.
type TLSFiles struct {
	cert, key, ca string

	mu     sync.Mutex // one reload at a time
	loaded atomic.Pointer[loadedFiles]
}

// loadedFiles is what was read last.
type loadedFiles struct {
	content [3][]byte // of certificate, key and authorities
	config  *tls.Config
	ends    time.Time // of the certificate, or one that it depends on; zero if it is not valid
}

// LoadTLSFiles reads the three files. It does not check that the certificate is of
// any use, which Check does.
func LoadTLSFiles(cert, key, ca string) (*TLSFiles, error) {
	f := &TLSFiles{cert: cert, key: key, ca: ca}
	read, err := f.read()
	if err == nil {
		err = f.parse(read)
	}
	if err != nil {
		return f, err
	}
	read.ends, _ = checkCertificate(read.config, time.Now()) // Check has the error
	f.loaded.Store(read)
	return f, nil
}

// Reload reads the files again, and checks them as Check does. After an error,
// what was read before stays in use.
func (f *TLSFiles) Reload() error {
	_, err := f.reload(true)
	return err
}

// Refresh is Reload if the content of a file has changed since the last time it
// was read, and reports whether new ones are in use. It looks at content, not at
// times: the files may be links that are exchanged.
func (f *TLSFiles) Refresh() (bool, error) { return f.reload(false) }

func (f *TLSFiles) reload(always bool) (bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	read, err := f.read()
	if err != nil {
		return false, err
	}
	if !always && read.equal(f.loaded.Load()) {
		return false, nil
	}
	if err := f.parse(read); err != nil {
		return false, err
	}
	if read.ends, err = checkCertificate(read.config, time.Now()); err != nil {
		return false, fmt.Errorf("certificate %s: %w", f.cert, err)
	}
	f.loaded.Store(read)
	return true, nil
}

// read reads the files' content.
func (f *TLSFiles) read() (*loadedFiles, error) {
	read := new(loadedFiles)
	for i, file := range []struct{ what, path string }{{"certificate", f.cert}, {"key", f.key}, {"certificate authorities", f.ca}} {
		content, err := os.ReadFile(file.path)
		if err != nil {
			return nil, fmt.Errorf("load %s: %w", file.what, err)
		}
		read.content[i] = content
	}
	return read, nil
}

// equal reports whether two readings are of the same content.
func (l *loadedFiles) equal(other *loadedFiles) bool {
	for i := range l.content {
		if !bytes.Equal(l.content[i], other.content[i]) {
			return false
		}
	}
	return true
}

// parse sets the configuration that was read.
func (f *TLSFiles) parse(read *loadedFiles) error {
	pair, err := tls.X509KeyPair(read.content[0], read.content[1])
	if err != nil {
		return fmt.Errorf("load certificate %s and key %s: %w", f.cert, f.key, err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(read.content[2]) {
		return fmt.Errorf("load certificate authorities: %s holds no certificate", f.ca)
	}
	read.config = &tls.Config{
		Certificates: []tls.Certificate{pair}, ClientCAs: pool, RootCAs: pool, MinVersion: tls.VersionTLS13,
	}
	return nil
}

// Check returns why no peer could accept the certificate that is in use, nil if
// there is no reason: it is not valid now, can't be used on both ends of a
// connection, or is not signed by one of the authorities.
func (f *TLSFiles) Check() error {
	if _, err := checkCertificate(f.loaded.Load().config, time.Now()); err != nil {
		return fmt.Errorf("certificate %s: %w", f.cert, err)
	}
	return nil
}

// Covers returns why the certificate that is in use is not one for host, a name or
// an IP, nil if it is.
func (f *TLSFiles) Covers(host string) error {
	leaf := f.loaded.Load().config.Certificates[0].Leaf
	if leaf == nil {
		return errors.New("the certificate can't be read")
	}
	return leaf.VerifyHostname(host)
}

// Ends returns when the certificate that is in use ends, or one of an authority
// that it depends on.
func (f *TLSFiles) Ends() time.Time { return f.loaded.Load().ends }

// TLS returns the configuration for a Transport, which follows Reload.
func (f *TLSFiles) TLS() *TLS {
	get := func() (*tls.Config, error) { return f.loaded.Load().config, nil }
	return &TLS{Server: get, Client: get, Ends: f.Ends}
}
