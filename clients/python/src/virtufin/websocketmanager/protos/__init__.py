"""The messages and RPCs of the service, generated from its protos."""
