"""What a plan lets be seen of a record: row conditions, masks, the view's own schema, its shapes of delivery."""
