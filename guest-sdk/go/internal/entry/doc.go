// Package entry is the component's export: it takes a request from the host,
// starts the program's main on the first one, and hands the request to whatever
// the program serves with. There is one such export in a program, so packages
// serve and unmodified share this package. It is empty on every GOOS but wasip1.
package entry
