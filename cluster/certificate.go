package cluster

import (
	"time"

	"github.com/kvorum/kvorum/kv"
)

// certificateEnds returns when the certificate of the peer port ends; zero if there
// is none.
func (n *Node) certificateEnds() time.Time {
	if n.cfg.TLS == nil || n.cfg.TLS.Ends == nil {
		return time.Time{}
	}
	return n.cfg.TLS.Ends()
}

func (n *Node) certificate() *kv.CertificateStatus {
	ends := n.certificateEnds()
	if ends.IsZero() {
		return nil
	}
	return &kv.CertificateStatus{Ends: ends, LeftSeconds: time.Until(ends).Seconds()}
}
