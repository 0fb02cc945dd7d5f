// Package api is the HTTP contract of eos-proxy: the hand-written openapi.yaml and what oapi-codegen makes of it, the
// types of requests and answers and the interface with one method per operation. It knows no rule and keeps no state;
// the OpenAPI file is the source, and whoever wants another field writes it there first and runs go generate.
package api

//go:generate go tool oapi-codegen -config oapi-codegen.yaml openapi.yaml
