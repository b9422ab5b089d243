"""Many pictures: batches of pairs (`batch`, of a `manifest`, done by a `worker`), and settings compared (`sweep`)."""
