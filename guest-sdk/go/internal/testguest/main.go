// Command testguest is the server that the host's end-to-end tests run. It uses
// net/http only and is built in both forms: with -tags unmodified through package
// unmodified, or as it is with that package injected, and with -tags sdk through
// package serve.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net/http"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"
)

func main() {
	flag.Parse()
	if d, err := time.ParseDuration(os.Getenv("START_DELAY")); err == nil {
		time.Sleep(d)
	}
	if os.Getenv("START_RETURN") != "" {
		return
	}
	port := os.Getenv("PORT")
	if port == "" {
		port = "8080"
	}
	if p := os.Getenv("WRONG_PORT"); p != "" {
		port = p
	}
	addr := os.Getenv("LISTEN_HOST") + ":" + port
	log.Printf("testguest: listening on %s", addr)
	log.Fatal(listenAndServe(addr, routes()))
}

func routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/", hello)
	mux.HandleFunc("/count", count)
	mux.HandleFunc("/stream", stream)
	mux.HandleFunc("POST /echo", echo)
	mux.HandleFunc("POST /length", length)
	mux.HandleFunc("/gc", gc)
	mux.HandleFunc("/fan", fan)
	mux.HandleFunc("/headers", headers)
	mux.HandleFunc("/env", env)
	mux.HandleFunc("/set", set)
	mux.HandleFunc("/panic", func(http.ResponseWriter, *http.Request) { panic("boom") })
	mux.HandleFunc("/panic-abort", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	mux.HandleFunc("/panic-mid", panicMid)
	mux.HandleFunc("/goexit", func(http.ResponseWriter, *http.Request) { runtime.Goexit() })
	mux.HandleFunc("/exit", func(http.ResponseWriter, *http.Request) { os.Exit(3) })
	mux.HandleFunc("/short", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "10")
		io.WriteString(w, "four")
	})
	mux.HandleFunc("/trailers", trailers)
	mux.HandleFunc("/slow", slow)
	mux.HandleFunc("/ctx", ctx)
	mux.HandleFunc("/big", big)
	mux.HandleFunc("/status", status)
	mux.HandleFunc("/log", func(http.ResponseWriter, *http.Request) {
		log.Print("a line by log")
		slog.Info("a line by slog", "n", 1)
		fmt.Println("a line on stdout")
		fmt.Fprintln(os.Stderr, "a line on stderr")
	})
	mux.HandleFunc("/background", background)
	return mux
}

func number(r *http.Request, name string, otherwise int) int {
	if n, err := strconv.Atoi(r.URL.Query().Get(name)); err == nil {
		return n
	}
	return otherwise
}

func hello(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/" {
		http.NotFound(w, r)
		return
	}
	target := os.Getenv("TARGET")
	if target == "" {
		target = "World"
	}
	fmt.Fprintf(w, "Hello %s!\n", target)
}

var requests int

// count counts up as long as the instance is the same.
func count(w http.ResponseWriter, _ *http.Request) {
	requests++
	fmt.Fprintln(w, requests)
}

// stream sends 5 chunks, 100 ms apart.
func stream(w http.ResponseWriter, r *http.Request) {
	for i := range number(r, "n", 5) {
		if i > 0 {
			time.Sleep(time.Duration(number(r, "ms", 100)) * time.Millisecond)
		}
		fmt.Fprintf(w, "chunk %d\n", i)
		w.(http.Flusher).Flush()
	}
}

// echo answers while it still reads.
func echo(w http.ResponseWriter, r *http.Request) {
	if err := http.NewResponseController(w).EnableFullDuplex(); err != nil {
		log.Print("echo: full duplex: ", err)
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	if r.ContentLength >= 0 && r.URL.Query().Has("length") {
		w.Header().Set("Content-Length", strconv.FormatInt(r.ContentLength, 10))
	}
	buf := make([]byte, 64<<10)
	for {
		n, err := r.Body.Read(buf)
		if n > 0 {
			if r.URL.Query().Has("gc") {
				runtime.GC()
			}
			if _, err := w.Write(buf[:n]); err != nil {
				log.Print("echo: write: ", err)
				return
			}
			w.(http.Flusher).Flush()
		}
		if err == io.EOF {
			return
		}
		if err != nil {
			log.Print("echo: read: ", err)
			return
		}
	}
}

// length reads the body in one piece, which allocates as it goes.
func length(w http.ResponseWriter, r *http.Request) {
	b, err := io.ReadAll(r.Body)
	sum := 0
	for _, c := range b {
		sum += int(c)
	}
	fmt.Fprintf(w, "%d %d %v\n", len(b), sum, err)
}

var ballast [][]byte

// gc allocates mb megabytes in small pieces and collects twice.
func gc(w http.ResponseWriter, r *http.Request) {
	ballast = nil
	for range number(r, "mb", 8) * 64 {
		ballast = append(ballast, make([]byte, 16<<10))
	}
	runtime.GC()
	ballast = nil
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	fmt.Fprintf(w, "gc %d heap %d sys %d\n", m.NumGC, m.HeapAlloc, m.Sys)
}

// fan waits for goroutines that sleep at the same time.
func fan(w http.ResponseWriter, r *http.Request) {
	var wg sync.WaitGroup
	start := time.Now()
	for range number(r, "n", 10) {
		wg.Add(1)
		go func() {
			defer wg.Done()
			time.Sleep(time.Duration(number(r, "ms", 100)) * time.Millisecond)
		}()
	}
	wg.Wait()
	fmt.Fprintln(w, time.Since(start).Milliseconds())
}

// headers reports the request as the program saw it.
func headers(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		log.Print("headers: ", err)
	}
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(map[string]any{
		"method": r.Method, "uri": r.RequestURI, "path": r.URL.Path, "query": r.URL.RawQuery,
		"proto": r.Proto, "host": r.Host, "remote": r.RemoteAddr, "length": r.ContentLength,
		"header": r.Header, "trailer": r.Trailer, "body": string(body),
	})
}

// env reports the environment.
func env(w http.ResponseWriter, _ *http.Request) {
	variables := map[string]string{}
	for _, v := range os.Environ() {
		name, value, _ := strings.Cut(v, "=")
		variables[name] = value
	}
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(variables)
}

// set answers with the headers that the query names, kept as they are.
func set(w http.ResponseWriter, r *http.Request) {
	for name, values := range r.URL.Query() {
		w.Header()[name] = values
	}
	io.WriteString(w, "set\n")
}

func panicMid(w http.ResponseWriter, _ *http.Request) {
	io.WriteString(w, "half of it\n")
	w.(http.Flusher).Flush()
	time.Sleep(50 * time.Millisecond) // the host has sent it
	panic("boom in the middle")
}

// trailers answers with the request's trailers, declared and not.
func trailers(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Trailer", "X-Sum, X-Seen")
	body, _ := io.ReadAll(r.Body)
	fmt.Fprintf(w, "%d bytes\n", len(body))
	w.Header().Set("X-Sum", strconv.Itoa(len(body)))
	var seen []string
	for name, values := range r.Trailer {
		seen = append(seen, name+"="+strings.Join(values, "|"))
	}
	w.Header().Set("X-Seen", strings.Join(seen, ";"))
	w.Header().Set(http.TrailerPrefix+"X-Undeclared", "yes")
}

func slow(w http.ResponseWriter, r *http.Request) {
	time.Sleep(time.Duration(number(r, "ms", 1000)) * time.Millisecond)
	fmt.Fprintln(w, "slow")
}

// ctx sends its headers and waits until the client goes away.
func ctx(w http.ResponseWriter, r *http.Request) {
	io.WriteString(w, "waiting\n")
	w.(http.Flusher).Flush()
	start := time.Now()
	c, cancel := context.WithTimeout(r.Context(), time.Duration(number(r, "ms", 10_000))*time.Millisecond)
	defer cancel()
	<-c.Done()
	log.Printf("ctx: %v after %d ms", r.Context().Err(), time.Since(start).Milliseconds())
}

// big sends as many bytes as asked for.
func big(w http.ResponseWriter, r *http.Request) {
	left := number(r, "bytes", 1<<20)
	piece := []byte(strings.Repeat("0123456789abcdef", 1<<10))
	for left > 0 {
		n, err := w.Write(piece[:min(left, len(piece))])
		if err != nil {
			log.Print("big: ", err)
			return
		}
		left -= n
	}
}

func status(w http.ResponseWriter, r *http.Request) {
	w.WriteHeader(number(r, "code", 200))
	w.WriteHeader(200)
}

// background starts a goroutine that outlives the request and says how many of
// them have ended.
func background(w http.ResponseWriter, _ *http.Request) {
	go func() {
		time.Sleep(10 * time.Millisecond)
		finished++
	}()
	fmt.Fprintln(w, finished)
}

var finished int
