;; Imports an interface that no version of the contract has, so that a host must refuse it at deployment, by
;; name. It stands for a plugin built against another contract; it exports an empty `preprocess`.
(component
  (import "plimsoll:stage/teleport@0.1.0" (instance
    (export "go" (func))
  ))
  (instance $preprocess)
  (export "plimsoll:stage/preprocess@0.1.0" (instance $preprocess))
)
