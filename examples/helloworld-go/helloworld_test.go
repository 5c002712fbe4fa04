package main

import (
	"net/http"
	"net/http/httptest"
	"testing"
)

func TestHandler(t *testing.T) {
	tests := []struct {
		label  string
		target string
		want   string
	}{
		{label: "no TARGET", want: "Hello World!\n"},
		{label: "with TARGET", target: "Go Sample v1", want: "Hello Go Sample v1!\n"},
	}
	for _, test := range tests {
		t.Run(test.label, func(t *testing.T) {
			t.Setenv("TARGET", test.target)

			rr := httptest.NewRecorder()
			handler(rr, httptest.NewRequest(http.MethodGet, "/", nil))

			if rr.Code != http.StatusOK {
				t.Errorf("status: got %d, want %d", rr.Code, http.StatusOK)
			}
			if got := rr.Body.String(); got != test.want {
				t.Errorf("body: got %q, want %q", got, test.want)
			}
		})
	}
}
