;; A whole and healthy quota policy in the canonical ABI of `wit/policy.wit`, with one counter and
;; one finding. What stands in braces is what a test may replace.
(module
  {imports}
  (memory (export "memory") {pages})
  {fields}

  ;; Where the parts of its answers lie.
  (global $verdict i32 (i32.const 256))
  (global $findings i32 (i32.const 296)) ;; the list: address and length
  (global $facts i32 (i32.const 304)) ;; the list
  (global $finding i32 (i32.const 320))
  (global $status i32 (i32.const 328))
  (global $limit i32 (i32.const 344)) ;; a decimal: low, high at 8
  (global $message i32 (i32.const 388)) ;; a string: address and length
  (global $quantity i32 (i32.const 400)) ;; meter, and the amount at 8
  (global $manifest i32 (i32.const 512)) ;; ok or error; counters at 4, reads at 12, about at 20
  (global $counter i32 (i32.const 560)) ;; meter, window at 8, per at 16, limit at 24
  (global $strings i32 (i32.const 640)) ;; room for a list of them

  ;; verdict: allow, one finding, no facts
  (data (i32.const 256) (i32 0 0 0 0 0 0 0 0 0 0) (i32 320 1) (i32 0 0))
  ;; finding: counter 0, within its limit of 5, 4 remain, `fine`
  (data (i32.const 320) (i32 1 0) (i32 0 0) (i32 1 0) (i64 5000000000000 0) (i32 1 0) (i64 4000000000000 0) (i32 1 1064 4))
  ;; quantity: 1 of `llm_tokens`
  (data (i32.const 400) (i32 1024 10) (i64 1000000000000 0))
  ;; manifest: ok, one counter, no reads, nothing about it
  (data (i32.const 512) (i32 0) (i32 560 1) (i32 0 0) (i32 0 0))
  ;; schema: `{}`
  (data (i32.const 544) (i32 1056 2))
  ;; counter: `llm_tokens` by `calendar:month`, for the tenant, at most 5
  (data (i32.const 560) (i32 1024 10) (i32 1040 14) (i32 0 0) (i32 1 0) (i64 5000000000000 0))
  (data (i32.const 1024) "llm_tokens")
  (data (i32.const 1040) "calendar:month")
  (data (i32.const 1056) "{}")
  (data (i32.const 1064) "fine")
  (data (i32.const 2048) "{text}")

  ;; The instant of the call, which tells the trial of admission from a call in service.
  (global $now (mut i64) (i64.const 0))
  (global $heap (mut i32) (i32.const 65536))

  ;; Stores `{text}` as a string: its address and its length.
  (func $put (param $at i32)
    (i32.store (local.get $at) (i32.const 2048))
    (i32.store offset=4 (local.get $at) (i32.const {length})))

  (func (export "cabi_realloc") (param $old i32) (param $from i32) (param $align i32) (param $size i32) (result i32)
    {realloc}
    (global.set $heap
      (i32.and
        (i32.add (global.get $heap) (i32.sub (local.get $align) (i32.const 1)))
        (i32.sub (i32.const 0) (local.get $align))))
    (global.get $heap)
    (global.set $heap (i32.add (global.get $heap) (local.get $size))))

  (func (export "tollgate:policy/policy@0.1.0#configure") (param $settings i32) (param i32) (result i32)
    {configure}
    (global.get $manifest))

  (func (export "tollgate:policy/policy@0.1.0#settings-schema") (result i32)
    {schema}
    (i32.const 544))

  (func $check (export "tollgate:policy/quota@0.1.0#check")
    (param $at i64) (param i32 i32) (param i32 i32) (param i32 i32) (param i32 i32) (param $partial i32)
    (result i32)
    (global.set $now (local.get $at))
    {check}
    (global.get $verdict))

  (func (export "cabi_post_tollgate:policy/quota@0.1.0#check") (param i32)
    {post}))
