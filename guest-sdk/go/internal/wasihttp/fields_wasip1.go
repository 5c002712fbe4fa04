//go:build go1.24

package wasihttp

import (
	"log"
	"net/textproto"
	"unsafe"

	"github.com/serve-wasm/serve/guest-sdk/go/internal/httpd"
)

// entries reads a list of fields, which the host wrote to the arena, into one
// string; hold is on. It drops nothing.
func readEntries(list span) []httpd.Field {
	if list.size == 0 {
		return nil
	}
	type entry struct{ name, value span }
	raw := unsafe.Slice((*entry)(at(list.at)), list.size)
	low, high := ^uint32(0), uint32(0)
	for _, e := range raw {
		for _, s := range [2]span{e.name, e.value} {
			if s.size > 0 {
				low, high = min(low, s.at), max(high, s.at+s.size)
			}
		}
	}
	var text string
	if low < high {
		text = string(span{low, high - low}.bytes())
	}
	cut := func(s span) string {
		if s.size == 0 {
			return ""
		}
		return text[s.at-low : s.at-low+s.size]
	}
	fields := make([]httpd.Field, len(raw))
	for i, e := range raw {
		fields[i] = httpd.Field{Name: textproto.CanonicalMIMEHeaderKey(cut(e.name)), Value: cut(e.value)}
	}
	return fields
}

// takeFields reads a fields resource and drops it.
func takeFields(h uint32) []httpd.Field {
	hold()
	fieldsEntries(h, retAt())
	fields := readEntries(retSpan(0))
	release()
	fieldsDrop(h)
	return fields
}

var (
	listScratch []uint32
	listPin     []httpd.Field
)

// newFields makes a fields resource. Fields that only concern one connection are
// left out: the host refuses them, as it owns the connection.
func newFields(fields []httpd.Field) uint32 {
	listPin = fields
	list := listScratch[:0]
	for _, f := range fields {
		if httpd.HopByHop(f.Name) {
			continue
		}
		list = append(list,
			uint32(uintptr(unsafe.Pointer(unsafe.StringData(f.Name)))), uint32(len(f.Name)),
			uint32(uintptr(unsafe.Pointer(unsafe.StringData(f.Value)))), uint32(len(f.Value)))
	}
	listScratch = list
	fieldsFromList(unsafe.Pointer(unsafe.SliceData(list)), uint32(len(list)/4), retAt())
	failed, h := retU8(0) != 0, retU32(4)
	listPin = nil
	if !failed {
		return h
	}
	// One of them is refused, and the whole list with it: say which, keep the rest.
	h = fieldsNew()
	for _, f := range fields {
		if httpd.HopByHop(f.Name) {
			continue
		}
		fieldsAppend(h, unsafe.Pointer(unsafe.StringData(f.Name)), uint32(len(f.Name)),
			unsafe.Pointer(unsafe.StringData(f.Value)), uint32(len(f.Value)), retAt())
		if retU8(0) == 0 {
			continue
		}
		switch retU8(1) {
		case 0:
			log.Printf("serve: left out header %q: the host says invalid name or value", f.Name)
		case 1:
			log.Printf("serve: left out header %q: the host does not let guests set it", f.Name)
		default:
			log.Printf("serve: left out header %q: the host refused it", f.Name)
		}
	}
	return h
}
