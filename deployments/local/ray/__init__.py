"""Ray with the service in it, as a part of the local service."""
