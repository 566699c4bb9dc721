package test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kvorum/kvorum/cluster"
	"github.com/kvorum/kvorum/internal/testkit"
)

// authority signs certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
}

func newAuthority(t *testing.T, name string) *authority {
	t.Helper()
	a := new(authority)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(90 * 24 * time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	var err error
	if a.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &a.key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	a.pem = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return a
}

// issue writes cert.pem, key.pem and ca.pem for a host into dir, after change, and
// returns the flags that name them.
func (a *authority) issue(t *testing.T, dir, host string, change func(*x509.Certificate)) []string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "node at " + host}, IPAddresses: []net.IP{net.ParseIP(host)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(60 * 24 * time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if change != nil {
		change(template)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{
		"cert.pem": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		"key.pem":  pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}),
		"ca.pem":   a.pem,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return tlsFlags(dir)
}

func tlsFlags(dir string) []string {
	return []string{"--tls-cert", filepath.Join(dir, "cert.pem"), "--tls-key", filepath.Join(dir, "key.pem"), "--tls-ca", filepath.Join(dir, "ca.pem")}
}

// getTLS returns what the node answers over HTTPS, and when the certificate that
// it shows ends.
func (p *proc) getTLS(a *authority, path string) (string, time.Time, error) {
	roots := x509.NewCertPool()
	roots.AddCert(a.cert)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, DisableKeepAlives: true}}
	resp, err := client.Get("https://" + p.http() + path)
	if err != nil {
		return "", time.Time{}, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return string(body), resp.TLS.PeerCertificates[0].NotAfter, err
}

// TestTrial_F4_Certificates has nodes with certificates that can't work, that end
// soon, that are replaced while the node runs, and that a peer does not accept.
func TestTrial_F4_Certificates(t *testing.T) {
	ca, other := newAuthority(t, "authority"), newAuthority(t, "another authority")
	t.Run("Refused", func(t *testing.T) {
		for name, c := range map[string]struct {
			by     *authority
			change func(*x509.Certificate)
			words  []string
		}{
			"Expired":     {ca, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }, []string{"ended on", "issue a new one"}},
			"NotYetValid": {ca, func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Hour) }, []string{"not valid before", "clock"}},
			"ServerOnly":  {ca, func(c *x509.Certificate) { c.ExtKeyUsage = c.ExtKeyUsage[:1] }, []string{"clientAuth"}},
			"ClientOnly":  {ca, func(c *x509.Certificate) { c.ExtKeyUsage = c.ExtKeyUsage[1:] }, []string{"serverAuth"}},
			"Authority":   {other, nil, []string{"not signed by an authority of --tls-ca"}},
		} {
			p, dir := newLone(t, "n1", "--bootstrap-expect", "1"), t.TempDir()
			p.extra = append(p.extra, c.by.issue(t, dir, p.ip, c.change)...)
			if err := os.WriteFile(filepath.Join(dir, "ca.pem"), ca.pem, 0o600); err != nil {
				t.Fatal(err)
			}
			p.start(t)
			select {
			case <-p.exited:
			case <-time.After(10 * time.Second):
				t.Errorf("%s: the node runs", name)
				continue
			}
			for _, word := range append(c.words, filepath.Join(dir, "cert.pem")) {
				if !strings.Contains(p.logs.String(), word) {
					t.Errorf("%s: no %q in %s", name, word, p.logs)
				}
			}
		}
	})
	t.Run("EndsSoon", func(t *testing.T) {
		p, dir := newLone(t, "n1", "--bootstrap-expect", "1"), t.TempDir()
		p.extra = append(p.extra, ca.issue(t, dir, p.ip, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(5 * 24 * time.Hour) })...)
		p.extra = append(p.extra, "--advertise-peer-addr", "n1.kvorum.test:7001")
		p.start(t)
		p.waitLog(t, 20*time.Second, "level=WARN", "ends soon", "left=120h")
		p.waitLog(t, 5*time.Second, "level=WARN", "not for an advertised address", "n1.kvorum.test:7001")
		poll(t, 20*time.Second, "the metric", func() error {
			body, ends, err := p.getTLS(ca, "/metrics")
			if err == nil && !strings.Contains(body, fmt.Sprintf("\nkvorum_tls_certificate_expiry_timestamp_seconds %v\n", float64(ends.Unix()))) {
				err = fmt.Errorf("no metric of %v", ends)
			}
			return err
		})
	})
	t.Run("Replaced", func(t *testing.T) {
		// As a Kubernetes secret: a link to a directory is exchanged for another.
		p, root := newLone(t, "n1", "--bootstrap-expect", "1"), t.TempDir()
		data := filepath.Join(root, "data")
		exchange := func(dir string) {
			t.Helper()
			if err := os.Symlink(dir, data+".new"); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(data+".new", data); err != nil {
				t.Fatal(err)
			}
		}
		first, second, broken := t.TempDir(), t.TempDir(), t.TempDir()
		ca.issue(t, first, p.ip, nil)
		exchange(first)
		p.extra = append(p.extra, tlsFlags(data)...)
		p.start(t)
		shows := func(left time.Duration) func() error {
			return func() error {
				body, shown, err := p.getTLS(ca, "/status")
				if err != nil {
					return err
				}
				var s cluster.Status
				if err := json.Unmarshal([]byte(body), &s); err != nil {
					return err
				}
				if s.Certificate == nil || !s.Certificate.Ends.Equal(shown) {
					return fmt.Errorf("/status has %+v, HTTPS shows one that ends at %v", s.Certificate, shown)
				}
				if got := time.Until(shown); got > left || got < left-time.Hour {
					return fmt.Errorf("the certificate ends in %v", got)
				}
				return nil
			}
		}
		poll(t, 20*time.Second, "the first certificate", shows(60*24*time.Hour))
		ca.issue(t, second, p.ip, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(70 * 24 * time.Hour) })
		exchange(second)
		poll(t, 20*time.Second, "the second certificate", shows(70*24*time.Hour))
		p.waitLog(t, 5*time.Second, "certificates replaced")
		ca.issue(t, broken, p.ip, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) })
		exchange(broken)
		p.waitLog(t, 20*time.Second, "certificates not replaced", "those from before stay in use", "ended on")
		if err := shows(70 * 24 * time.Hour)(); err != nil {
			t.Errorf("after a broken file: %v", err)
		}
	})
	t.Run("PeerRefuses", func(t *testing.T) {
		a, b := newLone(t, "n1", "--bootstrap-expect", "1"), newLone(t, "n2")
		a.extra = append(a.extra, ca.issue(t, t.TempDir(), a.ip, nil)...)
		b.extra = append(b.extra, other.issue(t, t.TempDir(), b.ip, nil)...)
		a.start(t)
		b.extra = append(b.extra, "--join", a.gossip())
		b.start(t)
		a.waitLog(t, 20*time.Second, b.ip+":7001", "node at "+b.ip, "unknown authority")
		b.waitLog(t, 20*time.Second, "refuse peer connection", "remote=", "it accepts no certificate", "bad certificate")
	})
	if !t.Failed() {
		testkit.Outcome(t, "F4", "an expired, early, one-sided or foreign certificate is refused at start; one that ends in 5 days, or is not for an advertised name, is warned of and in /metrics; exchanged files are in use within 5 s, broken ones are not; both ends of a refused handshake log why")
	}
}
