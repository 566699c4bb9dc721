package storeprom_test

import (
	"fmt"
	"log"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/kvorum/kvorum/store"
	"github.com/kvorum/kvorum/store/storeprom"
)

func Example() {
	s, err := store.New()
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()
	if err := s.Set("greeting", []byte("hello")); err != nil {
		log.Fatal(err)
	}
	registry := prometheus.NewRegistry() // which promhttp.HandlerFor serves
	if err := registry.Register(storeprom.New(s, prometheus.Labels{"store": "sessions"})); err != nil {
		log.Fatal(err)
	}
	families, err := registry.Gather()
	if err != nil {
		log.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "kvorum_store_sets_total" {
			fmt.Println(f.GetName(), f.GetMetric()[0].GetCounter().GetValue())
		}
	}
	// Output: kvorum_store_sets_total 1
}
