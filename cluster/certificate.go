package cluster

import "time"

// CertificateStatus describes the certificate of a node.
type CertificateStatus struct {
	Ends        time.Time `json:"ends"`         // of it, or of an authority that it depends on
	LeftSeconds float64   `json:"left_seconds"` // until then; negative after it
}

// certificateEnds returns when the certificate of the peer port ends; zero if there
// is none.
func (n *Node) certificateEnds() time.Time {
	if n.cfg.TLS == nil || n.cfg.TLS.Ends == nil {
		return time.Time{}
	}
	return n.cfg.TLS.Ends()
}

func (n *Node) certificate() *CertificateStatus {
	ends := n.certificateEnds()
	if ends.IsZero() {
		return nil
	}
	return &CertificateStatus{Ends: ends, LeftSeconds: time.Until(ends).Seconds()}
}
