"""From records to token ids and tensors: chat templates, rendering and loss masks, collation."""
