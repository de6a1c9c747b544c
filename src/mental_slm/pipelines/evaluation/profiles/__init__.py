"""Emotion profiles: ten numbers for a text, asked for in four ways, scored beside their floors."""
