package api

import _ "embed" // for YAML

// YAML is the OpenAPI document as it was written, comments included. Callers read it only.
//
//go:embed openapi.yaml
var YAML []byte
