"""The department's side: adapters know `exchange.source`, `signing`, `names` and `errors`, and nothing else of ours."""
