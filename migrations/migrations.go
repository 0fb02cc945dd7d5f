// Package migrations embeds the schema of the log: one numbered pair of SQL
// files a step. schema.sql is the outcome of all of them; a test compares it.
package migrations

import "embed"

// Files holds the migrations, named as golang-migrate wants them.
//
//go:embed *.sql
var Files embed.FS

// Latest is the version of the newest migration.
const Latest = 6
