"""Find which layer to factorise how, at which ranks, and deliver the compressed model."""
