// Does the jobs of the tube mail; README.md says how to build and run it.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
)

const (
	again    = 75  // in a minute
	rejected = 100 // no retry would help
)

func main() {
	var mail struct {
		To   string `json:"to"`
		Text string `json:"text"`
	}
	if err := json.NewDecoder(os.Stdin).Decode(&mail); err != nil || mail.To == "" {
		fmt.Fprintln(os.Stderr, "no recipient")
		os.Exit(rejected)
	}
	outbox := os.Getenv("OUTBOX")
	if _, err := os.Stat(outbox); err != nil {
		fmt.Fprintln(os.Stderr, "there is no folder", outbox)
		os.Exit(again)
	}
	body, _ := json.Marshal(mail)
	file := filepath.Join(outbox, os.Getenv("TUBEHERD_JOB_ID")+".json")
	if err := os.WriteFile(file, body, 0o600); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1) // is tried again as retries are
	}
}
