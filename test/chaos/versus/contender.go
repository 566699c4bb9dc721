package versus

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"

	"github.com/kvorum/kvorum/test/chaos/lab"
)

// maxAnswer is the maximum number of bytes of an answer that are read: 1 MiB.
const maxAnswer = 1 << 20

// Contender is one of the two programs: how it is run, and how clients send requests to it.
type Contender struct {
	Name    string // in the table
	Version string // as the program reports it
	Program lab.Program

	// put returns the request that writes a value through a node; any 2xx acknowledges it.
	put func(ctx context.Context, url, key string, value []byte) (*http.Request, error)
	// leads asks a node whether it leads.
	leads func(ctx context.Context, client *http.Client, url string) (bool, error)
}

// Kvorum is the Contender of a Kvorum binary.
func Kvorum(path, version string) Contender {
	return Contender{Name: "Kvorum", Version: version, Program: lab.Kvorum(path), put: kvorumPut, leads: kvorumLeads}
}

func kvorumPut(ctx context.Context, url, key string, value []byte) (*http.Request, error) {
	return http.NewRequestWithContext(ctx, http.MethodPut, url+"/kv/"+key, bytes.NewReader(value))
}

func kvorumLeads(ctx context.Context, client *http.Client, url string) (bool, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/status", nil)
	if err != nil {
		return false, err
	}
	var status struct {
		Role string `json:"role"`
	}
	err = ask(client, req, &status)
	return status.Role == "leader", err
}

// ask makes a request and decodes its answer, which must be a success, from JSON.
func ask(client *http.Client, req *http.Request, into any) error {
	body, err := send(client, req)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(body, into); err != nil {
		return fmt.Errorf("answer of %s: %w", req.URL, err)
	}
	return nil
}

// send makes a request and returns the body of its answer, which must be a success.
func send(client *http.Client, req *http.Request) ([]byte, error) {
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return nil, err
	}
	if resp.StatusCode/100 != 2 {
		return nil, fmt.Errorf("%s: %s", resp.Status, body[:min(len(body), 300)])
	}
	return body, nil
}
