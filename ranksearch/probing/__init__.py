"""How compressible a trained model is: spectra across cuts, what truncation costs, what retraining gives back."""
