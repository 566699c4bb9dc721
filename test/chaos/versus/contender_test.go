package versus

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"

	"github.com/kvorum/kvorum/test/chaos/lab"
)

func TestEtcd_Args(t *testing.T) {
	own := lab.Place{Name: "n1", Initial: true, HTTP: "10.0.0.1:80", Peer: "10.0.0.1:70", PeerAt: "10.0.1.1:70", Data: "/data"}
	other := lab.Place{Name: "n2", Initial: true, PeerAt: "10.0.1.2:70"}
	spare := lab.Place{Name: "n3", PeerAt: "10.0.1.3:70"}
	got := etcdArgs(own, []lab.Place{own, other, spare})
	for flag, want := range map[string]string{
		"--name": "n1", "--data-dir": "/data",
		"--listen-client-urls": "http://10.0.0.1:80", "--listen-peer-urls": "http://10.0.0.1:70",
		"--initial-advertise-peer-urls": "http://10.0.1.1:70",
		"--initial-cluster":             "n1=http://10.0.1.1:70,n2=http://10.0.1.2:70",
	} {
		if i := slices.Index(got, flag); i < 0 || got[i+1] != want {
			t.Errorf("arguments %q have no %s %s", got, flag, want)
		}
	}
}

func TestEtcd_Put(t *testing.T) {
	req, err := etcdPut(t.Context(), "http://10.0.0.1:80", "a", []byte("b"))
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(req.Body)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := fmt.Sprint(req.Method, " ", req.URL, " ", string(body)), `POST http://10.0.0.1:80/v3/kv/put {"key":"YQ==","value":"Yg=="}`; got != want {
		t.Errorf("the request is %s, want %s", got, want)
	}
}

func TestContender_Leads(t *testing.T) {
	for name, c := range map[string]struct {
		contender Contender
		status    int
		answer    string
		leads     bool
		failed    bool
	}{
		"KvorumLeader":   {Kvorum("", ""), 200, `{"role":"leader","term":2}`, true, false},
		"KvorumFollower": {Kvorum("", ""), 200, `{"role":"follower"}`, false, false},
		"KvorumRefuses":  {Kvorum("", ""), 503, `{}`, false, true},
		"EtcdLeader":     {Contender{leads: etcdLeads}, 200, `{"header":{"member_id":"12"},"leader":"12"}`, true, false},
		"EtcdFollower":   {Contender{leads: etcdLeads}, 200, `{"header":{"member_id":"12"},"leader":"13"}`, false, false},
		"EtcdWithout":    {Contender{leads: etcdLeads}, 200, `{"header":{"member_id":"12"}}`, false, false},
		"EtcdOther":      {Contender{leads: etcdLeads}, 200, `{}`, false, true},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(c.status)
				_, _ = io.WriteString(w, c.answer)
			}))
			defer server.Close()
			leads, err := c.contender.leads(t.Context(), server.Client(), server.URL)
			if leads != c.leads || (err != nil) != c.failed {
				t.Errorf("leads %v, error %v", leads, err)
			}
		})
	}
}
