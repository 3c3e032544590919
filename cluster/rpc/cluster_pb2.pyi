from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Empty(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Json(_message.Message):
    __slots__ = ("body",)
    BODY_FIELD_NUMBER: _ClassVar[int]
    body: str
    def __init__(self, body: _Optional[str] = ...) -> None: ...

class Beat(_message.Message):
    __slots__ = ("worker", "session", "hello", "goodbye", "trainer", "waiting")
    WORKER_FIELD_NUMBER: _ClassVar[int]
    SESSION_FIELD_NUMBER: _ClassVar[int]
    HELLO_FIELD_NUMBER: _ClassVar[int]
    GOODBYE_FIELD_NUMBER: _ClassVar[int]
    TRAINER_FIELD_NUMBER: _ClassVar[int]
    WAITING_FIELD_NUMBER: _ClassVar[int]
    worker: str
    session: str
    hello: Hello
    goodbye: str
    trainer: str
    waiting: bool
    def __init__(self, worker: _Optional[str] = ..., session: _Optional[str] = ..., hello: _Optional[_Union[Hello, _Mapping]] = ..., goodbye: _Optional[str] = ..., trainer: _Optional[str] = ..., waiting: bool = ...) -> None: ...

class Hello(_message.Message):
    __slots__ = ("host", "program", "arguments", "digest", "host_id", "cores", "group")
    HOST_FIELD_NUMBER: _ClassVar[int]
    PROGRAM_FIELD_NUMBER: _ClassVar[int]
    ARGUMENTS_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    HOST_ID_FIELD_NUMBER: _ClassVar[int]
    CORES_FIELD_NUMBER: _ClassVar[int]
    GROUP_FIELD_NUMBER: _ClassVar[int]
    host: str
    program: str
    arguments: _containers.RepeatedScalarFieldContainer[str]
    digest: str
    host_id: str
    cores: str
    group: str
    def __init__(self, host: _Optional[str] = ..., program: _Optional[str] = ..., arguments: _Optional[_Iterable[str]] = ..., digest: _Optional[str] = ..., host_id: _Optional[str] = ..., cores: _Optional[str] = ..., group: _Optional[str] = ...) -> None: ...

class Ack(_message.Message):
    __slots__ = ("lease_seconds", "leaving", "reason", "exit_code", "dismissed", "ended", "waiting", "place", "places", "together")
    LEASE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    LEAVING_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    EXIT_CODE_FIELD_NUMBER: _ClassVar[int]
    DISMISSED_FIELD_NUMBER: _ClassVar[int]
    ENDED_FIELD_NUMBER: _ClassVar[int]
    WAITING_FIELD_NUMBER: _ClassVar[int]
    PLACE_FIELD_NUMBER: _ClassVar[int]
    PLACES_FIELD_NUMBER: _ClassVar[int]
    TOGETHER_FIELD_NUMBER: _ClassVar[int]
    lease_seconds: float
    leaving: bool
    reason: str
    exit_code: int
    dismissed: str
    ended: bool
    waiting: bool
    place: int
    places: int
    together: int
    def __init__(self, lease_seconds: _Optional[float] = ..., leaving: bool = ..., reason: _Optional[str] = ..., exit_code: _Optional[int] = ..., dismissed: _Optional[str] = ..., ended: bool = ..., waiting: bool = ..., place: _Optional[int] = ..., places: _Optional[int] = ..., together: _Optional[int] = ...) -> None: ...

class TrainerEndedRequest(_message.Message):
    __slots__ = ("trainer", "reason", "counted", "out_of_memory")
    TRAINER_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    COUNTED_FIELD_NUMBER: _ClassVar[int]
    OUT_OF_MEMORY_FIELD_NUMBER: _ClassVar[int]
    trainer: str
    reason: str
    counted: bool
    out_of_memory: bool
    def __init__(self, trainer: _Optional[str] = ..., reason: _Optional[str] = ..., counted: bool = ..., out_of_memory: bool = ...) -> None: ...

class ProgramRaisedRequest(_message.Message):
    __slots__ = ("worker", "traceback")
    WORKER_FIELD_NUMBER: _ClassVar[int]
    TRACEBACK_FIELD_NUMBER: _ClassVar[int]
    worker: str
    traceback: str
    def __init__(self, worker: _Optional[str] = ..., traceback: _Optional[str] = ...) -> None: ...

class ProgramRaisedReply(_message.Message):
    __slots__ = ("news",)
    NEWS_FIELD_NUMBER: _ClassVar[int]
    news: bool
    def __init__(self, news: bool = ...) -> None: ...

class OpenSearchRequest(_message.Message):
    __slots__ = ("index", "description", "wait_seconds")
    INDEX_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    WAIT_SECONDS_FIELD_NUMBER: _ClassVar[int]
    index: int
    description: str
    wait_seconds: float
    def __init__(self, index: _Optional[int] = ..., description: _Optional[str] = ..., wait_seconds: _Optional[float] = ...) -> None: ...

class OpenSearchReply(_message.Message):
    __slots__ = ("found", "directory", "project_name", "search_id")
    FOUND_FIELD_NUMBER: _ClassVar[int]
    DIRECTORY_FIELD_NUMBER: _ClassVar[int]
    PROJECT_NAME_FIELD_NUMBER: _ClassVar[int]
    SEARCH_ID_FIELD_NUMBER: _ClassVar[int]
    found: bool
    directory: str
    project_name: str
    search_id: str
    def __init__(self, found: bool = ..., directory: _Optional[str] = ..., project_name: _Optional[str] = ..., search_id: _Optional[str] = ...) -> None: ...

class NextTrialRequest(_message.Message):
    __slots__ = ("search", "worker", "trainer", "wait_seconds", "device", "packed")
    SEARCH_FIELD_NUMBER: _ClassVar[int]
    WORKER_FIELD_NUMBER: _ClassVar[int]
    TRAINER_FIELD_NUMBER: _ClassVar[int]
    WAIT_SECONDS_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    PACKED_FIELD_NUMBER: _ClassVar[int]
    search: int
    worker: str
    trainer: str
    wait_seconds: float
    device: str
    packed: bool
    def __init__(self, search: _Optional[int] = ..., worker: _Optional[str] = ..., trainer: _Optional[str] = ..., wait_seconds: _Optional[float] = ..., device: _Optional[str] = ..., packed: bool = ...) -> None: ...

class NextTrialReply(_message.Message):
    __slots__ = ("kind", "trial", "attempt", "ran_out")
    class Kind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        WAIT: _ClassVar[NextTrialReply.Kind]
        GRANT: _ClassVar[NextTrialReply.Kind]
        OVER: _ClassVar[NextTrialReply.Kind]
        ALONE: _ClassVar[NextTrialReply.Kind]
    WAIT: NextTrialReply.Kind
    GRANT: NextTrialReply.Kind
    OVER: NextTrialReply.Kind
    ALONE: NextTrialReply.Kind
    KIND_FIELD_NUMBER: _ClassVar[int]
    TRIAL_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    RAN_OUT_FIELD_NUMBER: _ClassVar[int]
    kind: NextTrialReply.Kind
    trial: str
    attempt: int
    ran_out: bool
    def __init__(self, kind: _Optional[_Union[NextTrialReply.Kind, str]] = ..., trial: _Optional[str] = ..., attempt: _Optional[int] = ..., ran_out: bool = ...) -> None: ...

class UpdateTrialRequest(_message.Message):
    __slots__ = ("search", "trial_id", "attempt", "metrics", "step")
    class MetricsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    SEARCH_FIELD_NUMBER: _ClassVar[int]
    TRIAL_ID_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    METRICS_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    search: int
    trial_id: str
    attempt: int
    metrics: _containers.ScalarMap[str, float]
    step: int
    def __init__(self, search: _Optional[int] = ..., trial_id: _Optional[str] = ..., attempt: _Optional[int] = ..., metrics: _Optional[_Mapping[str, float]] = ..., step: _Optional[int] = ...) -> None: ...

class ReportEpochRequest(_message.Message):
    __slots__ = ("search", "trial_id", "attempt", "epoch", "logs", "of", "execution")
    class LogsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    SEARCH_FIELD_NUMBER: _ClassVar[int]
    TRIAL_ID_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    LOGS_FIELD_NUMBER: _ClassVar[int]
    OF_FIELD_NUMBER: _ClassVar[int]
    EXECUTION_FIELD_NUMBER: _ClassVar[int]
    search: int
    trial_id: str
    attempt: int
    epoch: int
    logs: _containers.ScalarMap[str, float]
    of: int
    execution: int
    def __init__(self, search: _Optional[int] = ..., trial_id: _Optional[str] = ..., attempt: _Optional[int] = ..., epoch: _Optional[int] = ..., logs: _Optional[_Mapping[str, float]] = ..., of: _Optional[int] = ..., execution: _Optional[int] = ...) -> None: ...

class ReportEpochReply(_message.Message):
    __slots__ = ("stop",)
    STOP_FIELD_NUMBER: _ClassVar[int]
    stop: bool
    def __init__(self, stop: bool = ...) -> None: ...

class ReportProgressRequest(_message.Message):
    __slots__ = ("search", "trial_id", "attempt")
    SEARCH_FIELD_NUMBER: _ClassVar[int]
    TRIAL_ID_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    search: int
    trial_id: str
    attempt: int
    def __init__(self, search: _Optional[int] = ..., trial_id: _Optional[str] = ..., attempt: _Optional[int] = ...) -> None: ...

class EndTrialRequest(_message.Message):
    __slots__ = ("search", "trial", "attempt")
    SEARCH_FIELD_NUMBER: _ClassVar[int]
    TRIAL_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    search: int
    trial: str
    attempt: int
    def __init__(self, search: _Optional[int] = ..., trial: _Optional[str] = ..., attempt: _Optional[int] = ...) -> None: ...

class AbortSearchRequest(_message.Message):
    __slots__ = ("search", "worker", "traceback")
    SEARCH_FIELD_NUMBER: _ClassVar[int]
    WORKER_FIELD_NUMBER: _ClassVar[int]
    TRACEBACK_FIELD_NUMBER: _ClassVar[int]
    search: int
    worker: str
    traceback: str
    def __init__(self, search: _Optional[int] = ..., worker: _Optional[str] = ..., traceback: _Optional[str] = ...) -> None: ...

class GetTrialRequest(_message.Message):
    __slots__ = ("search", "trial_id")
    SEARCH_FIELD_NUMBER: _ClassVar[int]
    TRIAL_ID_FIELD_NUMBER: _ClassVar[int]
    search: int
    trial_id: str
    def __init__(self, search: _Optional[int] = ..., trial_id: _Optional[str] = ...) -> None: ...

class GetBestTrialsRequest(_message.Message):
    __slots__ = ("search", "number")
    SEARCH_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    search: int
    number: int
    def __init__(self, search: _Optional[int] = ..., number: _Optional[int] = ...) -> None: ...

class SearchRef(_message.Message):
    __slots__ = ("search",)
    SEARCH_FIELD_NUMBER: _ClassVar[int]
    search: int
    def __init__(self, search: _Optional[int] = ...) -> None: ...

class UpdateSpaceRequest(_message.Message):
    __slots__ = ("search", "space")
    SEARCH_FIELD_NUMBER: _ClassVar[int]
    SPACE_FIELD_NUMBER: _ClassVar[int]
    search: int
    space: str
    def __init__(self, search: _Optional[int] = ..., space: _Optional[str] = ...) -> None: ...

class PutPieceRequest(_message.Message):
    __slots__ = ("search", "trial_id", "attempt", "digest", "size", "offset", "data")
    SEARCH_FIELD_NUMBER: _ClassVar[int]
    TRIAL_ID_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    search: int
    trial_id: str
    attempt: int
    digest: str
    size: int
    offset: int
    data: bytes
    def __init__(self, search: _Optional[int] = ..., trial_id: _Optional[str] = ..., attempt: _Optional[int] = ..., digest: _Optional[str] = ..., size: _Optional[int] = ..., offset: _Optional[int] = ..., data: _Optional[bytes] = ...) -> None: ...

class PutPieceReply(_message.Message):
    __slots__ = ("offset",)
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    offset: int
    def __init__(self, offset: _Optional[int] = ...) -> None: ...

class TrialFile(_message.Message):
    __slots__ = ("name", "size", "digest")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    name: str
    size: int
    digest: str
    def __init__(self, name: _Optional[str] = ..., size: _Optional[int] = ..., digest: _Optional[str] = ...) -> None: ...

class CommitFilesRequest(_message.Message):
    __slots__ = ("search", "trial_id", "attempt", "files", "more")
    SEARCH_FIELD_NUMBER: _ClassVar[int]
    TRIAL_ID_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    FILES_FIELD_NUMBER: _ClassVar[int]
    MORE_FIELD_NUMBER: _ClassVar[int]
    search: int
    trial_id: str
    attempt: int
    files: _containers.RepeatedCompositeFieldContainer[TrialFile]
    more: bool
    def __init__(self, search: _Optional[int] = ..., trial_id: _Optional[str] = ..., attempt: _Optional[int] = ..., files: _Optional[_Iterable[_Union[TrialFile, _Mapping]]] = ..., more: bool = ...) -> None: ...

class CommitFilesReply(_message.Message):
    __slots__ = ("missing",)
    MISSING_FIELD_NUMBER: _ClassVar[int]
    missing: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, missing: _Optional[_Iterable[str]] = ...) -> None: ...

class ListFilesRequest(_message.Message):
    __slots__ = ("search", "trial_id")
    SEARCH_FIELD_NUMBER: _ClassVar[int]
    TRIAL_ID_FIELD_NUMBER: _ClassVar[int]
    search: int
    trial_id: str
    def __init__(self, search: _Optional[int] = ..., trial_id: _Optional[str] = ...) -> None: ...

class FileList(_message.Message):
    __slots__ = ("files",)
    FILES_FIELD_NUMBER: _ClassVar[int]
    files: _containers.RepeatedCompositeFieldContainer[TrialFile]
    def __init__(self, files: _Optional[_Iterable[_Union[TrialFile, _Mapping]]] = ...) -> None: ...

class GetPieceRequest(_message.Message):
    __slots__ = ("search", "trial_id", "name", "offset")
    SEARCH_FIELD_NUMBER: _ClassVar[int]
    TRIAL_ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    search: int
    trial_id: str
    name: str
    offset: int
    def __init__(self, search: _Optional[int] = ..., trial_id: _Optional[str] = ..., name: _Optional[str] = ..., offset: _Optional[int] = ...) -> None: ...

class Piece(_message.Message):
    __slots__ = ("data",)
    DATA_FIELD_NUMBER: _ClassVar[int]
    data: bytes
    def __init__(self, data: _Optional[bytes] = ...) -> None: ...

class AppendLogRequest(_message.Message):
    __slots__ = ("search", "trial_id", "attempt", "at", "data")
    SEARCH_FIELD_NUMBER: _ClassVar[int]
    TRIAL_ID_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    AT_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    search: int
    trial_id: str
    attempt: int
    at: int
    data: bytes
    def __init__(self, search: _Optional[int] = ..., trial_id: _Optional[str] = ..., attempt: _Optional[int] = ..., at: _Optional[int] = ..., data: _Optional[bytes] = ...) -> None: ...

class AppendLogReply(_message.Message):
    __slots__ = ("at",)
    AT_FIELD_NUMBER: _ClassVar[int]
    at: int
    def __init__(self, at: _Optional[int] = ...) -> None: ...

class GetStateRequest(_message.Message):
    __slots__ = ("search", "worker", "stays")
    SEARCH_FIELD_NUMBER: _ClassVar[int]
    WORKER_FIELD_NUMBER: _ClassVar[int]
    STAYS_FIELD_NUMBER: _ClassVar[int]
    search: int
    worker: str
    stays: bool
    def __init__(self, search: _Optional[int] = ..., worker: _Optional[str] = ..., stays: bool = ...) -> None: ...

class WatchRequest(_message.Message):
    __slots__ = ("search_id", "mark", "version", "wait_seconds")
    SEARCH_ID_FIELD_NUMBER: _ClassVar[int]
    MARK_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    WAIT_SECONDS_FIELD_NUMBER: _ClassVar[int]
    search_id: str
    mark: str
    version: int
    wait_seconds: float
    def __init__(self, search_id: _Optional[str] = ..., mark: _Optional[str] = ..., version: _Optional[int] = ..., wait_seconds: _Optional[float] = ...) -> None: ...

class GetLogRequest(_message.Message):
    __slots__ = ("search_id", "trial_id")
    SEARCH_ID_FIELD_NUMBER: _ClassVar[int]
    TRIAL_ID_FIELD_NUMBER: _ClassVar[int]
    search_id: str
    trial_id: str
    def __init__(self, search_id: _Optional[str] = ..., trial_id: _Optional[str] = ...) -> None: ...
