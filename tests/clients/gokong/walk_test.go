// Package gokong walks the Admin API with Kong's own Go client, one test per kind of entity.
//
// Each test finds an empty cluster at $KONG_ADMIN_URL. The shapes of requests, the reading of
// answers and the meaning of errors are go-kong's; what is expected is what Kong 3.9 answers.
package gokong

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"net/http"
	"os"
	"testing"

	"github.com/kong/go-kong/kong"
	"github.com/stretchr/testify/require"
)

var ctx = context.Background()

// newClient returns a client of the node under test; what it said last is shown if the test fails.
func newClient(t *testing.T) *kong.Client {
	client, err := kong.NewClient(kong.String(os.Getenv("KONG_ADMIN_URL")), &http.Client{})
	require.NoError(t, err)
	last := &lastExchange{}
	client.SetLogger(last)
	client.SetDebugMode(true)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the last exchange:\n%s\n%s", last.request, last.answer)
		}
	})
	return client
}

// lastExchange keeps the newest request and answer of those that a client logs in turn.
type lastExchange struct{ request, answer []byte }

func (l *lastExchange) Write(message []byte) (int, error) {
	message = append([]byte(nil), message...)
	if bytes.HasPrefix(message, []byte("HTTP/")) {
		l.answer = message
	} else {
		l.request, l.answer = message, nil
	}
	return len(message), nil
}

// requireRefused says that the API has answered with this status and exactly this message.
func requireRefused(t *testing.T, status int, message string, err error) {
	t.Helper()
	answer, ok := err.(*kong.APIError)
	require.True(t, ok, "expected an answer of the API, got %v", err)
	require.Equal(t, status, answer.Code(), answer.Error())
	require.Contains(t, answer.Error(), fmt.Sprintf("%q", message))
}

// requireMissing says that what was asked for is not there.
func requireMissing(t *testing.T, err error) {
	t.Helper()
	require.True(t, kong.IsNotFoundErr(err), "expected 404, got %v", err)
}

// call sends a request that go-kong has no method for; it returns the status and the JSON answer.
func call(t *testing.T, client *kong.Client, method, path string, body interface{}) (int, map[string]interface{}) {
	t.Helper()
	request, err := client.NewRequest(method, path, nil, body)
	require.NoError(t, err)
	var answer map[string]interface{}
	response, err := client.Do(ctx, request, &answer)
	require.NotNil(t, response, "%v", err)
	return response.StatusCode, answer
}

func newID() *string {
	var b [16]byte
	_, err := rand.Read(b[:])
	must(err)
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return kong.String(fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:]))
}
