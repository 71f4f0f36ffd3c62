"""The file server of the lab: pyftpdlib's FTP server.

Usage: python3 ftp_server.py ADDRESS PORT DIRECTORY

Serves DIRECTORY to anonymous users, who may write too, over passive and active data connections, and prints
`listening on …` once it accepts connections.
"""

import logging
import sys
import warnings

from pyftpdlib.authorizers import DummyAuthorizer
from pyftpdlib.handlers import FTPHandler
from pyftpdlib.servers import FTPServer


def main():
    address, port, directory = sys.argv[1:]
    logging.basicConfig(level=logging.INFO)
    # Anonymous users may write here: the warning against it is for servers that outlive a test.
    warnings.simplefilter("ignore", RuntimeWarning)
    authorizer = DummyAuthorizer()
    authorizer.add_anonymous(directory, perm="elradfmwMT")
    FTPHandler.authorizer = authorizer
    server = FTPServer((address, int(port)), FTPHandler)
    print(f"listening on {address} port {port}", flush=True)
    server.serve_forever()


main()
