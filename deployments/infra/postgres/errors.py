"""Translates what the database's driver raises into this project's errors, in one place.

The driver's messages can quote what was to be stored; they go no further than
this module, and only their class and code (SQLSTATE) are logged.
"""

import logging
from collections.abc import Generator
from contextlib import contextmanager

from asyncpg import exceptions as pg

from deployments.errors import BadRequest, ChatLLMError, Conflict, HistoryUnavailable

log = logging.getLogger(__name__)

RETRY_AFTER_S = 2.0

# The server, the way to it or the room in it is missing: the same request may succeed later.
AWAY = (
    OSError,
    TimeoutError,
    pg.FatalPostgresError,
    pg.PostgresConnectionError,
    pg.OperatorInterventionError,
    pg.InsufficientResourcesError,
    pg.PostgresSystemError,
    pg.TransactionRollbackError,
    pg.ObjectNotInPrerequisiteStateError,
    pg.InvalidTransactionStateError,
    pg.InvalidAuthorizationSpecificationError,
    pg.InvalidCatalogNameError,
    pg.InsufficientPrivilegeError,
    pg.UndefinedTableError,  # the migrations of a new database have not run yet
    pg.UndefinedFunctionError,
    pg.InvalidCachedStatementError,  # they have just run
    pg.SnapshotTooOldError,
    pg.ConfigFileError,
    pg.InternalServerError,
    pg.InterfaceError,
    pg.InternalClientError,
)

# The request conflicts with what is stored.
CONTRADICTORY = (pg.IntegrityConstraintViolationError,)

# The request holds what the database can never store.
UNFIT = (pg.DataError, pg.ProgramLimitExceededError)

# A mistake in our own queries.
OURS = (
    pg.SQLStatementNotYetCompleteError,
    pg.TriggeredActionError,
    pg.FeatureNotSupportedError,
    pg.InvalidTransactionInitiationError,
    pg.LocatorError,
    pg.InvalidGrantorError,
    pg.InvalidRoleSpecificationError,
    pg.DiagnosticsError,
    pg.InvalidArgumentForXqueryError,
    pg.CaseNotFoundError,
    pg.CardinalityViolationError,
    pg.InvalidCursorStateError,
    pg.InvalidSQLStatementNameError,
    pg.TriggeredDataChangeViolationError,
    pg.DependentPrivilegeDescriptorsStillExistError,
    pg.InvalidTransactionTerminationError,
    pg.SQLRoutineError,
    pg.InvalidCursorNameError,
    pg.ExternalRoutineError,
    pg.ExternalRoutineInvocationError,
    pg.SavepointError,
    pg.InvalidSchemaNameError,
    pg.SyntaxOrAccessError,
    pg.WithCheckOptionViolationError,
    pg.FDWError,
    pg.PLPGSQLError,
)

_TRANSLATIONS: dict[type[Exception], type[ChatLLMError]] = {
    **dict.fromkeys(AWAY, HistoryUnavailable),
    **dict.fromkeys(CONTRADICTORY, Conflict),
    **dict.fromkeys(UNFIT, BadRequest),
    **dict.fromkeys(OURS, ChatLLMError),
}


def translation(kind: type[BaseException]) -> type[ChatLLMError] | None:
    """Return this project's error for one of the driver's: that of its nearest named ancestor."""
    return next((_TRANSLATIONS[base] for base in kind.__mro__ if base in _TRANSLATIONS), None)


@contextmanager
def translated() -> Generator[None]:
    """Raise the driver's and the network's errors as `ChatLLMError`s, without their messages."""
    try:
        yield
    except (pg.PostgresError, pg.InterfaceError, pg.InternalClientError, OSError, TimeoutError) as error:
        kind = translation(type(error)) or ChatLLMError
        if kind is ChatLLMError:
            log.error("a query failed", extra={"error": type(error).__name__, "sqlstate": _sqlstate(error)})
        if kind is HistoryUnavailable:
            raise HistoryUnavailable(retry_after_s=RETRY_AFTER_S) from None
        raise kind from None


def _sqlstate(error: Exception) -> str | None:
    return getattr(error, "sqlstate", None)
