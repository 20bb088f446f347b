"""Signs a person in on this machine, and tells who they are: python sign_in.py http://localhost:8080/demo"""

import sys

from admit.client import AdmitClient, AdmitError, WrongCode


def main(url: str, *options: str) -> None:
    with AdmitClient(url) as client:
        if client.current_user.value is None:
            sent = client.send_code(input("Email: "))
            while client.current_user.value is None:
                try:
                    client.sign_in_with_code(sent, input("Code from the mail: "))
                except WrongCode as wrong:
                    print(wrong.message)
        user = client.refresh()
        print(f"{user.user_id} is signed in on {client.device_id()}: {user.license.type}, {user.data}")
        if "--sign-out" in options:
            client.sign_out()


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except AdmitError as error:
        sys.exit(f"{error.message} ({error.code})")
