package gokong

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"time"

	"github.com/kong/go-kong/kong"
)

// newCertificate returns a self-signed certificate with its key, to be shown for these names.
func newCertificate(names ...string) *kong.Certificate {
	cert, key := selfSigned(false)
	return &kong.Certificate{Cert: &cert, Key: &key, SNIs: kong.StringSlice(names...)}
}

func newCACertificate(int) *kong.CACertificate {
	cert, _ := selfSigned(true)
	return &kong.CACertificate{Cert: &cert}
}

func selfSigned(isCA bool) (cert, key string) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(err)
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(now.UnixNano()),
		Subject:               pkix.Name{CommonName: "walk"},
		NotBefore:             now.Add(-time.Hour),
		NotAfter:              now.Add(time.Hour),
		IsCA:                  isCA,
		BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	must(err)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	must(err)
	return inPEM("CERTIFICATE", der), inPEM("PRIVATE KEY", pkcs8)
}

func newRSAPublicKey() string {
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	must(err)
	der, err := x509.MarshalPKIXPublicKey(private.Public())
	must(err)
	return inPEM("PUBLIC KEY", der)
}

func inPEM(label string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: label, Bytes: der}))
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}
