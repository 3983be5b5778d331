;; A preprocess stage with two linear memories in two core modules of one component; each starts with one page.
;; A request makes memory A grow by 3 pages and memory B by 5 pages, and fails with invalid-input: "done", or
;; "refused" if the host let one of the growths fail without a trap. It represents a plugin that evades a limit
;; which counts only one memory. A body that does not fit in A's first page makes A grow further.
;;
;; wit-component generated the component around the core modules, for the world `preprocessor` of wit/stage.wit.
(component
  (type $ty-wasi:nn/tensor@0.2.0-rc-2024-10-28
    (instance
      (export "tensor" (type (sub resource)))
    )
  )
  (import "wasi:nn/tensor@0.2.0-rc-2024-10-28" (instance $wasi:nn/tensor@0.2.0-rc-2024-10-28 (type $ty-wasi:nn/tensor@0.2.0-rc-2024-10-28)))
  (alias export $wasi:nn/tensor@0.2.0-rc-2024-10-28 "tensor" (type $tensor))
  (type $ty-wasi:nn/inference@0.2.0-rc-2024-10-28
    (instance
      (alias outer 1 $tensor (type))
      (export "tensor" (type (eq 0)))
      (type (own 1))
      (type (tuple string 2))
      (export "named-tensor" (type (eq 3)))
    )
  )
  (import "wasi:nn/inference@0.2.0-rc-2024-10-28" (instance $wasi:nn/inference@0.2.0-rc-2024-10-28 (type $ty-wasi:nn/inference@0.2.0-rc-2024-10-28)))
  (alias export $wasi:nn/inference@0.2.0-rc-2024-10-28 "named-tensor" (type $named-tensor))
  (type $ty-plimsoll:stage/types@0.1.0
    (instance
      (type (option string))
      (type (tuple string string))
      (type (list 1))
      (type (record (field "id" string) (field "content-type" 0) (field "parameters" 2)))
      (export "request" (type (eq 3)))
      (alias outer 1 $named-tensor (type))
      (export "named-tensor" (type (eq 5)))
      (type (list 6))
      (type (list u8))
      (type (record (field "tensors" 7) (field "context" 8)))
      (export "prepared" (type (eq 9)))
      (type (variant (case "unsupported-media-type" string) (case "invalid-input" string) (case "too-large" string) (case "internal" string)))
      (export "failure" (type (eq 11)))
    )
  )
  (import "plimsoll:stage/types@0.1.0" (instance $plimsoll:stage/types@0.1.0 (type $ty-plimsoll:stage/types@0.1.0)))
  ;; Memory B, in a separate core module. `grow` adds 5 pages and returns the previous size in pages, or -1.
  (core module $b
    (memory $b 1)
    (func (export "grow") (result i32)
      i32.const 5
      memory.grow
    )
  )
  (core instance $b (instantiate $b))
  ;; Memory A, which the lifted function uses. `run` grows A by 3 pages and B by 5, then returns invalid-input "done" or
  ;; "refused".
  (core module $main
    (type (func (result i32)))
    (type (func (param i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
    (type (func (param i32 i32 i32 i32) (result i32)))
    (import "b" "grow" (func $grow_b (type 0)))
    (memory $a 1)
    (global $next (mut i32) i32.const 1024)
    (export "memory" (memory $a))
    (export "plimsoll:stage/preprocess@0.1.0#run" (func $run))
    (export "cabi_realloc" (func $realloc))
    (func $run (type 1) (param i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)
      (local $grown i32)
      i32.const 3
      memory.grow
      i32.const -1
      i32.ne
      call $grow_b
      i32.const -1
      i32.ne
      i32.and
      local.set $grown
      i32.const 0
      i32.const 1
      i32.store
      i32.const 4
      i32.const 1
      i32.store
      i32.const 8
      i32.const 16
      i32.const 32
      local.get $grown
      select
      i32.store
      i32.const 12
      i32.const 4
      i32.const 7
      local.get $grown
      select
      i32.store
      i32.const 0
    )
    (func $realloc (type 2) (param $old i32) (param $old_size i32) (param $align i32) (param $size i32) (result i32)
      (local $at i32)
      global.get $next
      i32.const 15
      i32.add
      i32.const -16
      i32.and
      local.set $at
      local.get $at
      local.get $size
      i32.add
      global.set $next
      block $fits
        loop $more
          global.get $next
          memory.size
          i32.const 65536
          i32.mul
          i32.le_u
          br_if $fits
          i32.const 1
          memory.grow
          i32.const -1
          i32.ne
          br_if $more
        end
        unreachable
      end
      local.get $at
      local.get $old
      local.get $old_size
      memory.copy
      local.get $at
    )
    (data (i32.const 16) "done")
    (data (i32.const 32) "refused")
  )
  (alias export $plimsoll:stage/types@0.1.0 "request" (type $request))
  (alias export $plimsoll:stage/types@0.1.0 "prepared" (type $prepared))
  (alias export $plimsoll:stage/types@0.1.0 "failure" (type $failure))
  (core instance $main (instantiate $main (with "b" (instance $b))))
  (alias core export $main "memory" (core memory $memory))
  (type (list u8))
  (type (result $prepared (error $failure)))
  (type (func (param "request" $request) (param "body" 8) (result 9)))
  (alias core export $main "plimsoll:stage/preprocess@0.1.0#run" (core func $plimsoll:stage/preprocess@0.1.0#run))
  (alias core export $main "cabi_realloc" (core func $cabi_realloc))
  (func $run (type 10) (canon lift (core func $plimsoll:stage/preprocess@0.1.0#run) (memory $memory) (realloc $cabi_realloc) string-encoding=utf8))
  (alias export $wasi:nn/tensor@0.2.0-rc-2024-10-28 "tensor" (type $"#type11 tensor" (@name "tensor")))
  (alias export $wasi:nn/inference@0.2.0-rc-2024-10-28 "tensor" (type $"#type12 tensor" (@name "tensor")))
  (alias export $wasi:nn/inference@0.2.0-rc-2024-10-28 "named-tensor" (type $"#type13 named-tensor" (@name "named-tensor")))
  (alias export $plimsoll:stage/types@0.1.0 "named-tensor" (type $"#type14 named-tensor" (@name "named-tensor")))
  (component $plimsoll:stage/preprocess@0.1.0-shim-component
    (type (option string))
    (type (tuple string string))
    (type (list 1))
    (type (record (field "id" string) (field "content-type" 0) (field "parameters" 2)))
    (import "import-type-request" (type (eq 3)))
    (import "import-type-tensor" (type (sub resource)))
    (import "import-type-tensor0" (type (eq 5)))
    (type (own 6))
    (type (tuple string 7))
    (import "import-type-named-tensor" (type (eq 8)))
    (import "import-type-named-tensor0" (type (eq 9)))
    (type (list 10))
    (type (list u8))
    (type (record (field "tensors" 11) (field "context" 12)))
    (import "import-type-prepared" (type (eq 13)))
    (type (variant (case "unsupported-media-type" string) (case "invalid-input" string) (case "too-large" string) (case "internal" string)))
    (import "import-type-failure" (type (eq 15)))
    (import "import-type-request0" (type (eq 4)))
    (import "import-type-prepared0" (type (eq 14)))
    (import "import-type-failure0" (type (eq 16)))
    (type (result 18 (error 19)))
    (type (func (param "request" 17) (param "body" 12) (result 20)))
    (import "import-func-run" (func (type 21)))
    (export "request" (type 4))
    (export "prepared" (type 14))
    (export "failure" (type 16))
    (type (result 23 (error 24)))
    (type (func (param "request" 22) (param "body" 12) (result 25)))
    (export "run" (func 0) (func (type 26)))
  )
  (instance $plimsoll:stage/preprocess@0.1.0-shim-instance (instantiate $plimsoll:stage/preprocess@0.1.0-shim-component
      (with "import-func-run" (func $run))
      (with "import-type-request" (type $request))
      (with "import-type-tensor" (type $"#type11 tensor"))
      (with "import-type-tensor0" (type $"#type12 tensor"))
      (with "import-type-named-tensor" (type $"#type13 named-tensor"))
      (with "import-type-named-tensor0" (type $"#type14 named-tensor"))
      (with "import-type-prepared" (type $prepared))
      (with "import-type-failure" (type $failure))
      (with "import-type-request0" (type $request))
      (with "import-type-prepared0" (type $prepared))
      (with "import-type-failure0" (type $failure))
    )
  )
  (export $plimsoll:stage/preprocess@0.1.0 "plimsoll:stage/preprocess@0.1.0" (instance $plimsoll:stage/preprocess@0.1.0-shim-instance))
)
