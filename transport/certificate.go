package transport

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"time"
)

// checkCertificate returns when the certificate of cfg, or one of an authority
// that it depends on, ends, or why peers can't accept it at now.
func checkCertificate(cfg *tls.Config, now time.Time) (ends time.Time, err error) {
	own := cfg.Certificates[0]
	leaf := own.Leaf
	if leaf == nil {
		if leaf, err = x509.ParseCertificate(own.Certificate[0]); err != nil {
			return time.Time{}, fmt.Errorf("it can't be read: %w", err)
		}
	}
	between := x509.NewCertPool()
	for _, der := range own.Certificate[1:] {
		if c, err := x509.ParseCertificate(der); err == nil { // one that can't be read is of no use to peers either
			between.AddCert(c)
		}
	}
	verify := func(usage x509.ExtKeyUsage) ([][]*x509.Certificate, error) {
		return leaf.Verify(x509.VerifyOptions{
			Roots: cfg.RootCAs, Intermediates: between, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{usage},
		})
	}
	chains, err := verify(x509.ExtKeyUsageAny)
	if err != nil {
		return time.Time{}, certificateReason(leaf, err, now)
	}
	for _, end := range []struct {
		usage x509.ExtKeyUsage
		name  string
	}{{x509.ExtKeyUsageServerAuth, "serverAuth"}, {x509.ExtKeyUsageClientAuth, "clientAuth"}} {
		if _, err := verify(end.usage); err != nil {
			return time.Time{}, fmt.Errorf("%s has no extended key usage %s: a node needs serverAuth and clientAuth, since it dials its peers and is dialed; issue a new one", describe(leaf), end.name)
		}
	}
	for _, chain := range chains {
		end := chain[0].NotAfter
		for _, c := range chain {
			if c.NotAfter.Before(end) {
				end = c.NotAfter
			}
		}
		if end.After(ends) {
			ends = end
		}
	}
	return ends, nil
}

// certificateReason says in words why a node's own certificate is not valid, and
// what to do.
func certificateReason(leaf *x509.Certificate, err error, now time.Time) error {
	var invalid x509.CertificateInvalidError
	if errors.As(err, &invalid) && invalid.Reason == x509.Expired && invalid.Cert != nil {
		which := describe(invalid.Cert)
		if !invalid.Cert.Equal(leaf) {
			which = "the authority's " + which
		}
		if now.Before(invalid.Cert.NotBefore) {
			return fmt.Errorf("%s is not valid before %s: compare this machine's clock", which, invalid.Cert.NotBefore.Format(time.RFC3339))
		}
		return fmt.Errorf("%s ended on %s: issue a new one", which, invalid.Cert.NotAfter.Format(time.RFC3339))
	}
	var unknown x509.UnknownAuthorityError
	if errors.As(err, &unknown) {
		return fmt.Errorf("%s is not signed by an authority of --tls-ca, or an intermediate certificate is missing behind it (issuer %q): %w",
			describe(leaf), leaf.Issuer, err)
	}
	return fmt.Errorf("%s: %w", describe(leaf), err)
}

// describe names a certificate: by its subject and the hosts that it is for.
func describe(c *x509.Certificate) string {
	hosts := append([]string{}, c.DNSNames...)
	for _, ip := range c.IPAddresses {
		hosts = append(hosts, ip.String())
	}
	return fmt.Sprintf("%q for [%s], valid to %s,", c.Subject, strings.Join(hosts, " "), c.NotAfter.Format(time.RFC3339))
}
