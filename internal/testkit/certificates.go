package testkit

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"
)

// How long certificates are valid after they are made. Their validity begins one hour
// earlier.
const (
	authorityValidity = 90 * 24 * time.Hour
	issuedValidity    = 60 * 24 * time.Hour
)

// lastSerial is the serial number of the newest certificate.
var lastSerial atomic.Int64

// Authority is a certificate authority for one test.
type Authority struct {
	// PEM is the authority's own certificate, encoded.
	PEM []byte

	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// NewAuthority makes an authority. Its name is the common name of its certificate.
func NewAuthority(t testing.TB, name string) *Authority {
	t.Helper()
	template := newTemplate(name, authorityValidity)
	template.IsCA, template.BasicConstraintsValid, template.KeyUsage = true, true, x509.KeyUsageCertSign
	a := &Authority{cert: template, key: newKey(t)}
	der := a.sign(t, template, a.key)
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	a.cert, a.PEM = cert, encodePEM("CERTIFICATE", der)
	return a
}

// Pool returns a pool that holds the authority's certificate alone.
func (a *Authority) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return pool
}

// CertFiles are the paths of a certificate, its key and the authorities that its
// owner trusts.
type CertFiles struct{ Cert, Key, CA string }

// CertFilesIn returns the paths of the files that Issue writes into dir.
func CertFilesIn(dir string) CertFiles {
	return CertFiles{Cert: filepath.Join(dir, "cert.pem"), Key: filepath.Join(dir, "key.pem"), CA: filepath.Join(dir, "ca.pem")}
}

// Issue writes a new certificate for host, a name or an IP address, into dir, with a new
// key and the certificate of the authority. It replaces the files that are there. The
// certificate is one for servers and clients. change, which may be nil, may change it
// before it is signed.
func (a *Authority) Issue(t testing.TB, dir, host string, change func(*x509.Certificate)) CertFiles {
	t.Helper()
	template := newTemplate("node at "+host, issuedValidity)
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	if ip := net.ParseIP(host); ip != nil {
		template.IPAddresses = []net.IP{ip}
	} else {
		template.DNSNames = []string{host}
	}
	if change != nil {
		change(template)
	}
	key := newKey(t)
	der := a.sign(t, template, key)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	files := CertFilesIn(dir)
	for path, content := range map[string][]byte{
		files.Cert: encodePEM("CERTIFICATE", der),
		files.Key:  encodePEM("PRIVATE KEY", private),
		files.CA:   a.PEM,
	} {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return files
}

// sign returns the certificate that template describes, for key.
func (a *Authority) sign(t testing.TB, template *x509.Certificate, key *ecdsa.PrivateKey) (der []byte) {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// newTemplate returns a description of a certificate with a serial number of its own.
func newTemplate(name string, validity time.Duration) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: big.NewInt(lastSerial.Add(1)), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(validity),
	}
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func encodePEM(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}
