"""The service's HTTP API as the page uses it.

client      everything but streamed responses
completion  streamed responses, through the openai SDK
stream      the events of a streamed response
schema      response bodies
errors      failures, and how they are explained to a person
readiness   whether the service is up and its models are loaded
"""
