"""What overlays are compared with. These machines exist for the simulator alone, and have no wire."""
