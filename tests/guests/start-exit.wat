;; Ends its program while it is instantiated.
(module
  (import "wasi:cli/exit@0.2.0" "exit" (func $exit (param i32)))
  (memory (export "memory") 2)
  (global $heap (mut i32) (i32.const 4096))
  (func (export "cabi_realloc") (param $old i32) (param $oldlen i32) (param $align i32) (param $len i32) (result i32)
    (local $p i32)
    (local.set $p (i32.and
      (i32.add (global.get $heap) (i32.sub (local.get $align) (i32.const 1)))
      (i32.sub (i32.const 0) (local.get $align))))
    (global.set $heap (i32.add (local.get $p) (local.get $len)))
    (local.get $p))
  (func $explode (call $exit (i32.const 1)))
  (start $explode)
  (func $handle (export "wasi:http/incoming-handler@0.2.0#handle") (param $req i32) (param $out i32)
  ))
