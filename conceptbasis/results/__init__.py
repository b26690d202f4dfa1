"""What stages leave behind, as dataclasses: the contract between stages, reports and logs.

Nothing here imports a tensor library, so that `inspect`, `compare` and the report read results at
once. Tensor fields are written to safetensors, the rest to JSON (`conceptbasis.runs.storage`).
"""
