package test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kvorum/kvorum/internal/testkit"
	"github.com/kvorum/kvorum/kv"
)

// tlsFlags returns the flags that name a node's files.
func tlsFlags(files testkit.CertFiles) []string {
	return []string{"--tls-cert", files.Cert, "--tls-key", files.Key, "--tls-ca", files.CA}
}

// getTLS returns what the node answers over HTTPS, and when the certificate that
// it shows ends.
func (p *proc) getTLS(a *testkit.Authority, path string) (string, time.Time, error) {
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: a.Pool()}, DisableKeepAlives: true}}
	resp, err := client.Get("https://" + p.http() + path)
	if err != nil {
		return "", time.Time{}, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return string(body), resp.TLS.PeerCertificates[0].NotAfter, err
}

// TestTrial_F4_Certificates runs nodes with certificates that can't work, that expire soon,
// that are replaced while the node runs, and that a peer does not accept.
func TestTrial_F4_Certificates(t *testing.T) {
	t.Parallel()
	ca, other := testkit.NewAuthority(t, "authority"), testkit.NewAuthority(t, "another authority")
	t.Run("Refused", func(t *testing.T) {
		for name, c := range map[string]struct {
			by     *testkit.Authority
			change func(*x509.Certificate)
			words  []string
		}{
			"Expired":     {ca, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }, []string{"ended on", "issue a new one"}},
			"NotYetValid": {ca, func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Hour) }, []string{"not valid before", "clock"}},
			"ServerOnly":  {ca, func(c *x509.Certificate) { c.ExtKeyUsage = c.ExtKeyUsage[:1] }, []string{"clientAuth"}},
			"ClientOnly":  {ca, func(c *x509.Certificate) { c.ExtKeyUsage = c.ExtKeyUsage[1:] }, []string{"serverAuth"}},
			"Authority":   {other, nil, []string{"not signed by an authority of --tls-ca"}},
		} {
			p := newLone(t, "n1", "--bootstrap-expect", "1")
			files := c.by.Issue(t, t.TempDir(), p.ip, c.change)
			p.extra = append(p.extra, tlsFlags(files)...)
			if err := os.WriteFile(files.CA, ca.PEM, 0o600); err != nil {
				t.Fatal(err)
			}
			p.start(t)
			select {
			case <-p.exited:
			case <-time.After(10 * time.Second):
				t.Errorf("%s: the node runs", name)
				continue
			}
			for _, word := range append(c.words, files.Cert) {
				if !strings.Contains(p.logs.String(), word) {
					t.Errorf("%s: no %q in %s", name, word, p.logs)
				}
			}
		}
	})
	t.Run("EndsSoon", func(t *testing.T) {
		p := newLone(t, "n1", "--bootstrap-expect", "1")
		files := ca.Issue(t, t.TempDir(), p.ip, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(5 * 24 * time.Hour) })
		p.extra = append(p.extra, tlsFlags(files)...)
		p.extra = append(p.extra, "--advertise-peer-addr", "n1.kvorum.test:7001")
		p.start(t)
		p.waitLog(t, 20*time.Second, "level=WARN", "ends soon", "left=120h")
		p.waitLog(t, 5*time.Second, "level=WARN", "not for an advertised address", "n1.kvorum.test:7001")
		testkit.Eventually(t, 20*time.Second, "the metric", func() error {
			body, ends, err := p.getTLS(ca, "/metrics")
			if err == nil && !strings.Contains(body, fmt.Sprintf("\nkvorum_tls_certificate_expiry_timestamp_seconds %v\n", float64(ends.Unix()))) {
				err = fmt.Errorf("no metric of %v", ends)
			}
			return err
		})
	})
	t.Run("Replaced", func(t *testing.T) {
		// Like a Kubernetes secret: a link to a directory is replaced by another.
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
		ca.Issue(t, first, p.ip, nil)
		exchange(first)
		p.extra = append(p.extra, tlsFlags(testkit.CertFilesIn(data))...)
		p.start(t)
		shows := func(left time.Duration) func() error {
			return func() error {
				body, shown, err := p.getTLS(ca, "/status")
				if err != nil {
					return err
				}
				var s kv.Status
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
		testkit.Eventually(t, 20*time.Second, "the first certificate", shows(60*24*time.Hour))
		ca.Issue(t, second, p.ip, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(70 * 24 * time.Hour) })
		exchange(second)
		testkit.Eventually(t, 20*time.Second, "the second certificate", shows(70*24*time.Hour))
		p.waitLog(t, 5*time.Second, "certificates replaced")
		ca.Issue(t, broken, p.ip, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) })
		exchange(broken)
		p.waitLog(t, 20*time.Second, "certificates not replaced", "those from before stay in use", "ended on")
		if err := shows(70 * 24 * time.Hour)(); err != nil {
			t.Errorf("after a broken file: %v", err)
		}
	})
	t.Run("PeerRefuses", func(t *testing.T) {
		a, b := newLone(t, "n1", "--bootstrap-expect", "1"), newLone(t, "n2")
		a.extra = append(a.extra, tlsFlags(ca.Issue(t, t.TempDir(), a.ip, nil))...)
		b.extra = append(b.extra, tlsFlags(other.Issue(t, t.TempDir(), b.ip, nil))...)
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
