"""Whether an explanation can be trusted: metrics, evaluations, selection of a method.

What users call is in `rootpoint` itself (`evaluate`, `select`, `metrics`); ground truth is in
`rootpoint.evaluation.scenes`, `planted` and `boxes`.
"""
