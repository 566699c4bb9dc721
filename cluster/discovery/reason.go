package discovery

import (
	"errors"
	"net"
	"syscall"
)

// DialReason returns a short reason, for an operator, why a dial failed with err. For an
// unknown error it returns err's text.
func DialReason(err error) string {
	var timeout net.Error
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection refused: nothing listens there"
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return "no route to it"
	case errors.As(err, &timeout) && timeout.Timeout():
		return "no answer: the host is down, or a firewall drops what is sent to it"
	}
	return err.Error()
}
