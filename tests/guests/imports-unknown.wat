;; A component that wants a neural network: no host without one can run it.
(component
  (import "wasi:nn/graph@0.2.0-rc-2024-10-28" (instance $graph))
  (export "wasi:http/incoming-handler@0.2.0" (instance $graph)))
