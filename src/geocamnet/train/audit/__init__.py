"""Photographs looked at before anything is learnt from them: copies, leaks, shortcuts, marks, labels."""
