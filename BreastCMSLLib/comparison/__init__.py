"""An exam beside a prior one of the same woman: registered, findings matched, what changed."""
