"""How a model replica delivers answers to an ingress replica: both ends, and the format between them."""
