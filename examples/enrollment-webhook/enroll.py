"""Enrolls a person on a device, as an app does: python enroll.py DATABASE_URL USER_ID DEVICE

CLIENT_ID and CLIENT_SECRET are those of an API client of the app, which vouches for the person. Each DEVICE
is a folder in devices/, in which it keeps its identifier and its key.
"""

import os
import sys
from pathlib import Path

from admit.client import AdmitClient, AdmitError, Claims, DeviceInfo


def main(url: str, user_id: str, device: str) -> None:
    with AdmitClient(url, directory=Path("devices", device), device=DeviceInfo(label=device)) as client:
        client.sign_in_with_client(
            os.environ["CLIENT_ID"], os.environ["CLIENT_SECRET"], Claims(sub=user_id, email=user_id)
        )
        print(f"{user_id} is enrolled on {client.device_id()}")


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except AdmitError as error:
        sys.exit(f"{error.message} ({error.code})")
