# SPDX-License-Identifier: Apache-2.0
"""Training and export of takt's sample models for printed circuit boards."""

CLASSES = ("open", "short", "mousebite", "spur", "copper", "pin-hole")
FALSE_ALARM = "false-alarm"
IMAGE_SIZE = 640
