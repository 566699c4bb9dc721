package cluster

import (
	"errors"
	"log/slog"
	"testing"
	"time"
)

// TestGossip_Goodbye closes a node's gossip with no time to tell the others: that
// is no error of the node's stop.
func TestGossip_Goodbye(t *testing.T) {
	open := func(name string, join ...string) *gossip {
		cfg := Config{GossipAddr: "127.0.0.1:0", AdvertiseGossip: "127.0.0.1:0", Join: join, Logger: slog.New(slog.DiscardHandler)}
		g, err := openGossip(t.Context(), cfg, Announcement{ID: name, PeerAddr: "h:1", HTTPAddr: "h:2"}, func(error) {})
		if err != nil {
			t.Fatal(err)
		}
		return g
	}
	stays := open("n1.a")
	defer func() {
		if err := stays.close(time.Nanosecond); err != nil {
			t.Error(err)
		}
	}()
	goes := open("n2.b")
	if err := goes.Join([]string{stays.Addr()}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "they have met", func() error {
		if len(goes.Members()) != 2 || len(stays.Members()) != 2 {
			return errors.New("not yet")
		}
		return nil
	})
	if err := goes.close(time.Nanosecond); err != nil {
		t.Errorf("got %v, want nil", err)
	}
}
