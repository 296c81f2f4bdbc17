"""Augmentation of whole batches on their device, each sample's change a function of what it is."""
