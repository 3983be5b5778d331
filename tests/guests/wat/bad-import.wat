;; Imports an interface that no version of the contract has, so a host must reject it at deployment and name the
;; interface. It represents a plugin that was built for another contract; it exports an empty `preprocess`.
(component
  (import "plimsoll:stage/teleport@0.1.0" (instance
    (export "go" (func))
  ))
  (instance $preprocess)
  (export "plimsoll:stage/preprocess@0.1.0" (instance $preprocess))
)
