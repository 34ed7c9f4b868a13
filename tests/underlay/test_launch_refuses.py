"""What launch files may not say: each line tells what is written, what it raises, and when.

"at once" is where the file says it, so that the file does not even load. "when described" is
before launching, when arguments are looked for: that ends `ros2 launch`, and an include. "when
launched" is when the launch comes by, "when performed" the same for a substitution alone, and
"later" is when an event comes: a process ends, a timer fires, the launch is shut down.
"""

import ast
import logging
import re
import signal
import traceback
from pathlib import Path

import launch
import launch.actions
import launch.conditions
import launch.event_handlers
import launch.events.process
import launch.launch_description_sources
import launch.substitutions
import launch_ros.actions
import launch_ros.descriptions
import launch_ros.substitutions
import pytest
from launch import LaunchContext, LaunchDescription, LaunchDescriptionSource, LaunchService
from launch.actions import (
    ExecuteProcess,
    IncludeLaunchDescription,
    OpaqueFunction,
    SetLaunchConfiguration,
)
from launch.events import matches_action
from launch.utilities import normalize_to_list_of_substitutions, perform_substitutions

CONFIGURATIONS = {
    "word": "left",
    "yes": "true",
    "number": "3",
    "numbers": "[1, 2]",
    "mixed": "[1, a]",
    "nothing": "[]",
    "null": "null",
    "date": "2024-01-01",
    "mapping": "{a: 1}",
    "broken": "[1",
}
REQUIRING = """
from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument
def generate_launch_description():
    return LaunchDescription([DeclareLaunchArgument("robot")])
"""
FILES = {
    "requiring.launch.py": REQUIRING,
    "broken.launch.py": "x = (",
    "empty.launch.py": "",
    "forgets.launch.py": "def generate_launch_description(): pass",
    "list.launch.py": "def generate_launch_description(): return []",
    "plain.yaml": "/**: {ros__parameters: {a: 1}}",
    "unset.yaml": "/**: {ros__parameters: {a: $(var nowhere_set)}}",
    "two_spaces.yaml": "/**: {ros__parameters: {a: $(var  word)}}",
    "unquoted.yaml": "/**: {ros__parameters: {a: $(eval 1 + (2))}}",
    "inner_quotes.yaml": "/**: {ros__parameters: {a: $(var w'or'd)}}",
    "unknown.yaml": "/**: {ros__parameters: {a: $(nonsense word)}}",
    "malformed.yaml": "/**: {ros__parameters: {a: $(var broken)}}",
}
MALFORMED = "UnexpectedCharacters, UnexpectedEOF, VisitError or ValueError"  # where lark is absent

# what is written | what it raises | when
REFUSED = r"""
ExecuteProcess(cmd=['true'], on_exit=[])                           | AttributeError | later
ExecuteProcess(cmd=['true'], on_exit=())                           | AttributeError | later
ExecuteProcess(cmd=['true'], on_exit=(a for a in [LogInfo(msg='a')])) | AttributeError | later
ExecuteProcess(cmd=['true'], on_exit=5)                            | RuntimeError | later
ExecuteProcess(cmd=['true'], on_exit=lambda event, context: 5)     | RuntimeError | later
ExecuteProcess(cmd=['true'], on_exit=lambda event, context: [5])   | RuntimeError | later
ExecuteProcess(cmd=['true'], on_exit=lambda event, context: 'ab')  | RuntimeError | later
ExecuteProcess(cmd=['true'], on_exit=lambda event: None)           | TypeError | later
ExecuteProcess(cmd=['true'], on_exit=lambda event, context: 1 / 0) | ZeroDivisionError | later
ExecuteProcess(cmd=['true'], on_exit=[None])                       | AttributeError | when described
hidden(ExecuteProcess(cmd=['true'], on_exit=[None]))               | TypeError | when launched
ExecuteProcess(cmd=['true'], on_exit='shutdown')                   | TypeError | when launched
ExecuteProcess(cmd=['true'], on_exti=None)                         | TypeError | at once
ExecuteProcess(['true'])                                           | TypeError | at once
ExecuteProcess(cmd=None)                                           | TypeError | at once
ExecuteProcess(cmd=['sleep', 5])                                   | TypeError | at once
ExecuteProcess(cmd=['sleep', ['0', ['1']]])                        | TypeError | at once
ExecuteProcess(cmd=[Path('/bin/true')])                            | TypeError | at once
ExecuteProcess(cmd=[])                                             | IndexError | when launched
ExecuteProcess(cmd=[LaunchConfiguration('unset')])                 | SubstitutionFailure | when launched
ExecuteProcess(cmd=['true'], cwd=Path('/'))                        | TypeError | at once
ExecuteProcess(cmd=['true'], name=5)                               | TypeError | at once
ExecuteProcess(cmd=['true'], prefix=5)                             | TypeError | at once
ExecuteProcess(cmd=['true'], prefix='"open')                       | ValueError | when launched
ExecuteProcess(cmd=['true'], env={'A': 1})                         | TypeError | at once
ExecuteProcess(cmd=['true'], env=[('A', 'b')])                     | AttributeError | at once
ExecuteProcess(cmd=['true'], additional_env={'A': 1})              | TypeError | at once
ExecuteProcess(cmd=['true'], additional_env={'A': None})           | TypeError | at once
ExecuteProcess(cmd=['true'], additional_env=[])                    | AttributeError | at once
ExecuteProcess(cmd=['true'], sigterm_timeout=5)                    | TypeError | at once
ExecuteProcess(cmd=['true'], sigterm_timeout=5.0)                  | TypeError | at once
ExecuteProcess(cmd=['true'], sigkill_timeout=None)                 | TypeError | at once
ExecuteProcess(cmd=['true'], output=None)                          | TypeError | at once
ExecuteProcess(cmd=['true'], output='scren')                       | ValueError | when launched
ExecuteProcess(cmd=['true'], output='')                            | ValueError | when launched
ExecuteProcess(cmd=['true'], output={'stdin': 'screen'})           | ValueError | when launched
ExecuteProcess(cmd=['true'], output={'both': 'file'})              | ValueError | when launched
ExecuteProcess(cmd=['true'], output={'both': None})                | TypeError | when launched
ExecuteProcess(cmd=['true'], respawn='true')                       | TypeError | at once
ExecuteProcess(cmd=['true'], respawn=1)                            | TypeError | at once
ExecuteProcess(cmd=['true'], respawn=None)                         | TypeError | at once
ExecuteProcess(cmd=['true'], respawn=LaunchConfiguration('word'))  | ValueError | when launched
ExecuteProcess(cmd=['true'], condition='true')                     | AttributeError | when launched
ExecuteProcess(cmd=['true']).get_stdout()                          | RuntimeError | at once
[TRUE, TRUE]                                                       | RuntimeError | when launched

OpaqueFunction(function=lambda context: LogInfo(msg='a'))          | TypeError | when launched
OpaqueFunction(function=lambda context: LaunchDescription([]))     | TypeError | when launched
OpaqueFunction(function=lambda context: False)                     | TypeError | when launched
OpaqueFunction(function=lambda context: 5)                         | TypeError | when launched
OpaqueFunction(function=lambda context: [None])                    | AttributeError | when launched
OpaqueFunction(function=lambda context: [5])                       | AttributeError | when launched
OpaqueFunction(function=lambda context: 'ab')                      | AttributeError | when launched
OpaqueFunction(function=lambda context: [[LogInfo(msg='a')]])      | AttributeError | when launched
OpaqueFunction(function=lambda: None)                              | TypeError | when launched
OpaqueFunction(function=5)                                         | TypeError | at once
OpaqueFunction(function=print, args=5)                             | TypeError | at once
OpaqueFunction(function=print, args=0)                             | TypeError | at once
OpaqueFunction(function=print, kwargs=[('a', 1)])                  | TypeError | at once

LaunchDescription([None])                                          | AttributeError | when described
LaunchDescription([[LogInfo(msg='a')]])                            | AttributeError | when described
LaunchDescription([OnShutdown(on_shutdown=None)])                  | AttributeError | when described
LaunchDescription(LogInfo(msg='a'))                                | TypeError | at once
GroupAction(LogInfo(msg='a'))                                      | TypeError | when described
GroupAction([None])                                                | AttributeError | when described
GroupAction(None)                                                  | TypeError | when described
GroupAction([], launch_configurations={'a': 5})                    | TypeError | when described
GroupAction([], launch_configurations=[('a', '5')])                | AttributeError | when described
GroupAction([], scope=True)                                        | TypeError | at once

TimerAction(period=1, actions=[])                                  | TypeError | at once
TimerAction(period=True, actions=[])                               | TypeError | at once
TimerAction(period=None, actions=[])                               | TypeError | at once
TimerAction(period='soon', actions=[])                             | ValueError | at once
TimerAction(period=['1.0'], actions=[])                            | TypeError | at once
TimerAction(period=0.1, actions=LogInfo(msg='a'))                  | TypeError | at once
TimerAction(period=0.1, actions=None)                              | TypeError | at once
TimerAction(period=0.1, actions=[], cancel_on_shutdown='true')     | TypeError | at once
TimerAction(period=0.1, actions=[], cancel_on_shutdown=1)          | TypeError | at once
TimerAction(period=0.1, actions=[], cancel_on_shutdown=LaunchConfiguration('word')) | ValueError | when launched
TimerAction(period=0.1, actions=[None])                            | AttributeError | when described
TimerAction(period=0.1, actions=(a for a in [LogInfo(msg='a'), None])) | AttributeError | when described
TimerAction(1.0, [])                                               | TypeError | at once

EmitEvent(event=Shutdown())                                        | RuntimeError | at once
EmitEvent(event=None)                                              | RuntimeError | at once
EmitEvent(Shutdown())                                              | TypeError | at once
SignalProcess(signal_number=2, process_matcher=None)               | TypeError | at once
SignalProcess(signal_number=None, process_matcher=None)            | TypeError | at once
sending('SIGINT')                                                  | TypeError | later
sending('SIGSTOPP')                                                | TypeError | later
sending(Signals.SIGINT, to=['/no/such/executable'])                | RuntimeError | later
[SLEEP, EmitEvent(event=SignalProcess(signal_number=Signals.SIGKILL, process_matcher=matches_action(SLEEP)))] | RuntimeError | later
[SLEEP, EmitEvent(event=ShutdownProcess(process_matcher=matches_pid(1)))] | KeyError | later

OnProcessExit(on_exit=[None])                                      | TypeError | at once
OnProcessExit(on_exit='shutdown')                                  | TypeError | at once
OnProcessExit(on_exit=None, target_action=5)                       | TypeError | at once
OnProcessExit(on_exit=None, target_action=LogInfo(msg='a'))        | TypeError | at once
OnProcessExit(on_exit=None, target_action=[TRUE])                  | TypeError | at once
OnProcessExit(on_exit=None, once=True)                             | TypeError | at once
OnProcessExit()                                                    | TypeError | at once
OnProcessStart(on_start=[1])                                       | TypeError | at once
OnProcessStart(target_action=5, on_start=None)                     | TypeError | at once
RegisterEventHandler(OnProcessExit(on_exit=[]))                    | AttributeError | when described
RegisterEventHandler(OnProcessExit(on_exit=(a for a in [])))       | AttributeError | when described
RegisterEventHandler(OnProcessStart(on_start=[]))                  | AttributeError | when described
hidden(RegisterEventHandler(OnProcessExit(on_exit=[])))            | AttributeError | later
RegisterEventHandler(OnProcessExit(on_exit=None))                  | TypeError | when described
RegisterEventHandler(OnProcessExit(on_exit=5))                     | TypeError | when described
hidden(RegisterEventHandler(OnProcessExit(on_exit=5)))             | RuntimeError | later
RegisterEventHandler(OnProcessExit(on_exit=lambda event: None))    | TypeError | later
RegisterEventHandler(OnProcessExit(on_exit=lambda event, context: 5)) | RuntimeError | later
RegisterEventHandler(OnProcessExit(on_exit=None, target_action=lambda action: 1 / 0)) | TypeError | when described
hidden(RegisterEventHandler(OnProcessExit(on_exit=None, target_action=lambda action: 1 / 0))) | ZeroDivisionError | later
RegisterEventHandler(OnProcessIO(on_stdout=[LogInfo(msg='a')]))    | TypeError | later
RegisterEventHandler(OnProcessIO(on_stdout=lambda event, context: None)) | TypeError | later
RegisterEventHandler(OnProcessIO(on_stdout=lambda event: 5))       | RuntimeError | later
RegisterEventHandler(OnShutdown(on_shutdown=5))                    | RuntimeError | later
RegisterEventHandler(OnShutdown(on_shutdown='ab'))                 | RuntimeError | later
RegisterEventHandler(OnShutdown(on_shutdown=[5]))                  | RuntimeError | later
RegisterEventHandler(OnShutdown(on_shutdown=lambda event: None))   | TypeError | later
RegisterEventHandler(EventHandler(matcher=bool, entities=LogInfo(msg='a'))) | TypeError | when described
RegisterEventHandler(EventHandler(matcher=bool, entities=[5]))     | TypeError | when described
hidden(RegisterEventHandler(EventHandler(matcher=bool, entities=[5]))) | RuntimeError | later
RegisterEventHandler(None)                                         | AttributeError | when described
hidden(RegisterEventHandler(None))                                 | AttributeError | when launched
hidden(RegisterEventHandler(EventHandler(matcher=lambda event: event.pid == 1))) | AttributeError | when launched
UnregisterEventHandler(OnShutdown(on_shutdown=None))               | ValueError | when launched

DeclareLaunchArgument('a')                                         | RuntimeError | when launched
DeclareLaunchArgument('a', default_value=5)                        | TypeError | at once
DeclareLaunchArgument('a', default_value=True)                     | TypeError | at once
DeclareLaunchArgument('a', default_value=Path('/'))                | TypeError | at once
DeclareLaunchArgument('a', default_value=['b', ['c']])             | TypeError | at once
DeclareLaunchArgument('a', 'b')                                    | TypeError | at once
DeclareLaunchArgument('a', default='b')                            | TypeError | at once
DeclareLaunchArgument('a', choices=[])                             | RuntimeError | at once
DeclareLaunchArgument('a', default_value='c', choices=['a', 'b'])  | RuntimeError | at once
DeclareLaunchArgument('a', default_value='', choices=['a', 'b'])   | RuntimeError | at once
DeclareLaunchArgument('a', default_value=['c'], choices=['a'])     | RuntimeError | when launched
DeclareLaunchArgument('word', choices=['right'])                   | RuntimeError | when launched
DeclareLaunchArgument('yes', choices=['True', 'False'])            | RuntimeError | when launched

IncludeLaunchDescription(None)                                     | TypeError | at once
IncludeLaunchDescription(Path('requiring.launch.py'))              | TypeError | at once
IncludeLaunchDescription(LaunchDescription([]))                    | TypeError | at once
IncludeLaunchDescription('requiring.launch.py', launch_arguments=5) | TypeError | at once
IncludeLaunchDescription('requiring.launch.py')                    | RuntimeError | when launched
IncludeLaunchDescription('requiring.launch.py', launch_arguments={'robot': 'tall'}) | ValueError | when launched
IncludeLaunchDescription('requiring.launch.py', launch_arguments=[('robot', True)]) | TypeError | when launched
IncludeLaunchDescription('requiring.launch.py', launch_arguments=[('robot', LaunchConfiguration('unset'))]) | SubstitutionFailure | when launched
IncludeLaunchDescription('no_such.launch.py')                      | InvalidLaunchFileError | when launched
IncludeLaunchDescription('broken.launch.py')                       | InvalidLaunchFileError | when launched
IncludeLaunchDescription('empty.launch.py')                        | InvalidLaunchFileError | when launched
IncludeLaunchDescription('forgets.launch.py')                      | AttributeError | when launched
IncludeLaunchDescription('list.launch.py')                         | AttributeError | when described
IncludeLaunchDescription(PythonLaunchDescriptionSource('no_such.launch.py')) | FileNotFoundError | when launched
IncludeLaunchDescription(PythonLaunchDescriptionSource('broken.launch.py')) | SyntaxError | when launched
IncludeLaunchDescription(PythonLaunchDescriptionSource('empty.launch.py')) | InvalidPythonLaunchFileError | when launched
included(IncludeLaunchDescription('requiring.launch.py'))          | RuntimeError | when launched
included(IncludeLaunchDescription('requiring.launch.py', condition=IfCondition('false'))) | RuntimeError | when launched
included(GroupAction([GroupAction([DeclareLaunchArgument('a')])], condition=IfCondition('false'))) | RuntimeError | when launched
included(TimerAction(period=30.0, actions=[GroupAction([DeclareLaunchArgument('a')])])) | RuntimeError | when launched
included(IncludeLaunchDescription('requiring.launch.py', launch_arguments=[('robot', 'a')]), IncludeLaunchDescription('requiring.launch.py')) | RuntimeError | when launched
included(IncludeLaunchDescription('requiring.launch.py', launch_arguments=[(LaunchConfiguration('word'), 'a')])) | TypeError | when launched

SetLaunchConfiguration('a', 5)                                     | TypeError | at once
SetLaunchConfiguration('a', True)                                  | TypeError | at once
SetLaunchConfiguration('a', None)                                  | TypeError | at once
SetLaunchConfiguration('a', LaunchConfiguration('unset'))          | SubstitutionFailure | when launched
SetEnvironmentVariable('A', 5)                                     | TypeError | at once
SetEnvironmentVariable('A=B', 'c')                                 | ValueError | when launched
LogInfo(msg=5)                                                     | TypeError | at once
LogInfo(msg=['a', 5])                                              | TypeError | at once
LogInfo('a')                                                       | TypeError | at once

IfCondition(True)                                                  | TypeError | at once
IfCondition(1)                                                     | TypeError | at once
IfCondition(None)                                                  | TypeError | at once
LogInfo(msg='a', condition=IfCondition('yes'))                     | InvalidConditionExpressionError | when launched
LogInfo(msg='a', condition=IfCondition('on'))                      | InvalidConditionExpressionError | when launched
LogInfo(msg='a', condition=IfCondition(''))                        | InvalidConditionExpressionError | when launched
LogInfo(msg='a', condition=IfCondition([]))                        | InvalidConditionExpressionError | when launched
LogInfo(msg='a', condition=IfCondition('1.0'))                     | InvalidConditionExpressionError | when launched
LogInfo(msg='a', condition=UnlessCondition('no'))                  | InvalidConditionExpressionError | when launched
LogInfo(msg='a', condition=IfCondition(LaunchConfiguration('unset'))) | SubstitutionFailure | when launched
LogInfo(msg='a', condition=True)                                   | AttributeError | when launched

TextSubstitution(text=5)                                           | TypeError | at once
LaunchConfiguration(5)                                             | TypeError | at once
LaunchConfiguration('a', 'b')                                      | TypeError | at once
LaunchConfiguration('unset')                                       | SubstitutionFailure | when performed
EnvironmentVariable('A', default_value=5)                          | TypeError | at once
EnvironmentVariable('A', 'b')                                      | TypeError | at once
EnvironmentVariable('NOT_SET_AT_ALL')                              | SubstitutionFailure | when performed
EnvironmentVariable('PATH', default_value=LaunchConfiguration('unset')) | SubstitutionFailure | when performed
PathJoinSubstitution([Path('/'), 'a'])                             | TypeError | at once
PathJoinSubstitution(['a', ['b', 'c']])                            | TypeError | at once
PathJoinSubstitution([])                                           | TypeError | when performed
PythonExpression(5)                                                | TypeError | at once
PythonExpression('1 +')                                            | SyntaxError | when performed
PythonExpression('unknown')                                        | NameError | when performed
PythonExpression('1 / 0')                                          | ZeroDivisionError | when performed
PythonExpression('1', ['no_such_module'])                          | ModuleNotFoundError | when performed
LocalSubstitution(5)                                               | TypeError | at once
LocalSubstitution('event')                                         | AttributeError | when performed
FindExecutable(name='no-such-executable')                          | SubstitutionFailure | when performed
ThisLaunchFileDir()                                                | SubstitutionFailure | when performed
NotSubstitution(True)                                              | TypeError | at once
NotSubstitution('maybe')                                           | SubstitutionFailure | when performed
NotSubstitution('')                                                | SubstitutionFailure | when performed
AndSubstitution('false', 'maybe')                                  | SubstitutionFailure | when performed
OrSubstitution('true', 'maybe')                                    | SubstitutionFailure | when performed
AllSubstitution(True)                                              | TypeError | at once
IfElseSubstitution('true')                                         | RuntimeError | at once
IfElseSubstitution(True, 'a')                                      | TypeError | at once
IfElseSubstitution('maybe', 'a')                                   | SubstitutionFailure | when performed
FindPackageShare('no_such_package')                                | PackageNotFoundError | when performed
ExecutableInPackage('no_such_executable', 'rclpy')                 | SubstitutionFailure | when performed

Node(package='rclpy')                                              | TypeError | at once
Node(executable=5)                                                 | TypeError | at once
Node(executable='true', node_name='a')                             | TypeError | at once
Node(executable='true', cmd=['a'])                                 | TypeError | at once
Node(executable='true', respawn='true')                            | TypeError | at once
Node(executable='true', on_exit=[])                                | AttributeError | later
Node(executable='x', package='no_such_package')                    | PackageNotFoundError | when launched
Node(executable='/bin/true', package='rclpy')                      | SubstitutionFailure | when launched
Node(executable='true', name=5)                                    | TypeError | when launched
Node(executable='true', name='')                                   | InvalidNodeNameException | when launched
Node(executable='true', name='two words')                          | InvalidNodeNameException | when launched
Node(executable='true', name='1st')                                | InvalidNodeNameException | when launched
Node(executable='true', name='a/b')                                | InvalidNodeNameException | when launched
Node(executable='true', namespace='two words')                     | InvalidNamespaceException | when launched
Node(executable='true', namespace='a//b')                          | InvalidNamespaceException | when launched
Node(executable='true', namespace='//a')                           | InvalidNamespaceException | when launched
Node(executable='true', namespace='~')                             | InvalidNamespaceException | when launched
Node(executable='true', arguments=5)                               | TypeError | at once
Node(executable='true', arguments=['--rate', 5])                   | TypeError | at once
Node(executable='true', arguments=[Path('/')])                     | TypeError | at once
Node(executable='true', ros_arguments=('--log-level', 'debug'))    | TypeError | at once
Node(executable='true', ros_arguments='--disable-stdout-logs')     | TypeError | at once
Node(executable='true', remappings=[['a', 'b']])                   | TypeError | at once
Node(executable='true', remappings=('a', 'b'))                     | TypeError | at once
Node(executable='true', remappings=[('a', 'b', 'c')])              | TypeError | at once
Node(executable='true', remappings=[('a', 5)])                     | TypeError | at once
Node(executable='true', remappings={'a': 'b'})                     | TypeError | at once
Node(executable='true', parameters={'a': 1})                       | TypeError | at once
Node(executable='true', parameters=({'a': 1},))                    | TypeError | at once
Node(executable='true', parameters='plain.yaml')                   | TypeError | at once
Node(executable='true', parameters=[None])                         | TypeError | at once
Node(executable='true', parameters=[5])                            | TypeError | at once
Node(executable='true', parameters=[ParameterValue(5)])            | TypeError | at once
Node(executable='true', parameters=[{5: 1}])                       | TypeError | at once
Node(executable='true', parameters=[{'a': None}])                  | TypeError | at once
Node(executable='true', parameters=[{'a': {'b': None}}])           | TypeError | at once
Node(executable='true', parameters=[{'a': {1, 2}}])                | TypeError | at once
Node(executable='true', parameters=[{'a': object()}])              | TypeError | at once
Node(executable='true', parameters=[{'a': Path('/')}])             | TypeError | at once
Node(executable='true', parameters=[{'a': [None]}])                | TypeError | at once
Node(executable='true', parameters=[{'a': [Path('/')]}])           | TypeError | at once
Node(executable='true', parameters=[{'a': [1, [2]]}])              | TypeError | at once
Node(executable='true', parameters=[{'a': [{'b': 1}]}])            | RuntimeError | at once
Node(executable='true', parameters=[{'a': []}])                    | TypeError | when launched
Node(executable='true', parameters=[{'a': [1, 'b']}])              | TypeError | when launched
Node(executable='true', parameters=[{'a': [True, 1]}])             | TypeError | when launched
Node(executable='true', parameters=[{'a': [[LaunchConfiguration('number')], 'b']}]) | TypeError | when launched
Node(executable='true', parameters=[{'a': LaunchConfiguration('unset')}]) | SubstitutionFailure | when launched
Node(executable='true', parameters=[{'a': LaunchConfiguration('null')}]) | TypeError | when launched
Node(executable='true', parameters=[{'a': LaunchConfiguration('date')}]) | TypeError | when launched
Node(executable='true', parameters=[{'a': LaunchConfiguration('mapping')}]) | TypeError | when launched
Node(executable='true', parameters=[{'a': LaunchConfiguration('mixed')}]) | TypeError | when launched
Node(executable='true', parameters=[{'a': LaunchConfiguration('nothing')}]) | TypeError | when launched
Node(executable='true', parameters=[{'a': LaunchConfiguration('broken')}]) | TypeError | when launched
Node(executable='true', parameters=[{'a': ParameterValue(LaunchConfiguration('word'), value_type=int)}]) | ValueError | when launched
Node(executable='true', parameters=[{'a': ParameterValue(LaunchConfiguration('number'), value_type=dict)}]) | ValueError | when launched
Node(executable='true', parameters=[ParameterFile('no_such.yaml', allow_substs=True)]) | FileNotFoundError | when launched
Node(executable='true', parameters=[ParameterFile('unset.yaml', allow_substs=True)]) | SubstitutionFailure | when launched
Node(executable='true', parameters=[ParameterFile('malformed.yaml', allow_substs=True)]) | SubstitutionFailure | when launched
Node(executable='true', parameters=[ParameterFile('two_spaces.yaml', allow_substs=True)]) | MALFORMED | when launched
Node(executable='true', parameters=[ParameterFile('unquoted.yaml', allow_substs=True)]) | MALFORMED | when launched
Node(executable='true', parameters=[ParameterFile('inner_quotes.yaml', allow_substs=True)]) | MALFORMED | when launched
Node(executable='true', parameters=[ParameterFile('unknown.yaml', allow_substs=True)]) | MALFORMED | when launched
LifecycleNode(executable='true', namespace='')                     | TypeError | at once
LifecycleNode(executable='true', name='a')                         | TypeError | at once
LifecycleNode(executable='true', name=None, namespace='')          | RuntimeError | when launched

ParameterFile(None)                                                | TypeError | at once
ParameterFile(['a', 5])                                            | TypeError | at once
ParameterFile('plain.yaml', allow_substs='true')                   | TypeError | at once
ParameterFile('plain.yaml', allow_substs=1)                        | TypeError | at once
ParameterFile('plain.yaml', allow_substs=LaunchConfiguration('yes')) | TypeError | at once
ParameterValue(None)                                               | TypeError | at once
ParameterValue('a', value_type=int)                                | TypeError | at once
ParameterValue(1, value_type=float)                                | TypeError | at once
ParameterValue('3', value_type=float)                              | TypeError | at once
ParameterValue(1, value_type=dict)                                 | ValueError | at once
ParameterValue([1, 'a'])                                           | TypeError | at once
ParameterValue([1], value_type=int)                                | TypeError | at once
ParameterValue(['a'], value_type=list[int])                        | TypeError | at once
ParameterValue([], value_type=list[int])                           | TypeError | at once
SetParameter('a', None)                                            | TypeError | at once
SetParameter(5, 1)                                                 | TypeError | at once
SetParameter('a', [])                                              | TypeError | when launched
SetParameter('a', LaunchConfiguration('date'))                     | TypeError | when launched
SetRemap('a', 5)                                                   | TypeError | at once
PushRosNamespace(5)                                                | TypeError | at once
PushRosNamespace('two words')                                      | SubstitutionFailure | when launched
PushRosNamespace('//a')                                            | SubstitutionFailure | when launched
"""  # noqa: E501

# what is written and works, although it looks like one of the above
ACCEPTED = r"""
ExecuteProcess(cmd=['true'], on_exit=None)
ExecuteProcess(cmd=['true'], on_exit=LogInfo(msg='a'))
ExecuteProcess(cmd=['true'], on_exit=(LogInfo(msg='a'),))
ExecuteProcess(cmd=['true'], on_exit=LaunchDescription([LogInfo(msg='a')]))
ExecuteProcess(cmd=['true'], on_exit=lambda event, context: None)
ExecuteProcess(cmd=['true'], on_exit=lambda event, context: [])
ExecuteProcess(cmd=['true'], on_exit=lambda event, context: [None, LogInfo(msg='a')])
ExecuteProcess(cmd=['true'], respawn=LaunchConfiguration('no', default='False'))
ExecuteProcess(cmd=['true'], output={})
ExecuteProcess(cmd=('true',), cwd=['/', 'tmp'])
ExecuteProcess(cmd=['/no/such/executable'], respawn=True, on_exit=Shutdown())
OpaqueFunction(function=lambda context: [])
OpaqueFunction(function=lambda context: (LogInfo(msg='a'),))
OpaqueFunction(function=lambda context: (LogInfo(msg=text) for text in 'ab'))
OpaqueFunction(function=lambda context: [LaunchDescription([LogInfo(msg='a')])])
TimerAction(period='0.01', actions=(LogInfo(msg='a'),))
TimerAction(period=-1.0, actions=[])
RegisterEventHandler(OnShutdown(on_shutdown=[]))
RegisterEventHandler(OnShutdown(on_shutdown=LogInfo(msg='a')))
RegisterEventHandler(OnShutdown(on_shutdown=[None]))
RegisterEventHandler(OnProcessExit(on_exit=LogInfo(msg='a')))
hidden(RegisterEventHandler(OnProcessExit(on_exit=None)))
hidden(RegisterEventHandler(EventHandler(matcher=lambda event: event.name == 'launch.events.Shutdown', entities=LogInfo(msg='a'))))
sending(Signals.SIGINT)
sending('SIGKILL')
sending(Signals.SIGINT, to=['true'])
DeclareLaunchArgument('a', default_value=LaunchConfiguration('word'), choices=['left'])
DeclareLaunchArgument('a', condition=IfCondition('false'))
included(GroupAction([DeclareLaunchArgument('a')], condition=IfCondition('false')))
LogInfo(msg='a', condition=IfCondition('True'))
LogInfo(msg='a', condition=IfCondition('FALSE'))
LogInfo(msg='a', condition=UnlessCondition(' 1 '))
Node(executable='true', remappings={'a': 'b'}.items())
Node(executable='true', arguments=(text for text in ['a', 'b']))
Node(executable='true', parameters=['no_such.yaml'])
Node(executable='true', parameters=[{'a': [1, True], ('b', LaunchConfiguration('word')): (1, 2.5)}])
Node(executable='true', parameters=[{'a': ParameterValue([]), 'b': ParameterValue(True, value_type=int)}])
Node(executable='true', parameters=[{'a': ParameterValue(LaunchConfiguration('numbers'), value_type=list[int])}])
Node(executable='true', parameters=[{'a': [[LaunchConfiguration('number')], [LaunchConfiguration('number')]]}])
Node(executable='true', namespace='a/')
Node(executable='true', namespace='')
"""  # noqa: E501


def _rows(table: str) -> list[list[str]]:
    return [re.split(r"\s+\| ", line) for line in table.splitlines() if line]


@pytest.fixture(autouse=True)
def _files(tmp_path, monkeypatch):
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)


def written(text: str):
    """Evaluate what a launch file says."""
    names = {"Path": Path, "matches_action": matches_action}
    for module in (
        launch,
        launch.events.process,
        launch.event_handlers,
        launch.launch_description_sources,
        launch.conditions,
        launch.substitutions,
        launch.actions,
        launch_ros.descriptions,
        launch_ros.substitutions,
        launch_ros.actions,
    ):
        names |= {name: getattr(module, name) for name in module.__all__}
    names |= {
        "Signals": signal.Signals,
        "SLEEP": ExecuteProcess(cmd=["sleep", "30"]),
        "TRUE": ExecuteProcess(cmd=["true"]),
        "hidden": lambda *entities: OpaqueFunction(function=lambda context: entities),
        "included": lambda *entities: IncludeLaunchDescription(
            LaunchDescriptionSource(LaunchDescription(entities))
        ),
        "sending": sending,
    }
    return eval(compile(ast.parse(text, mode="eval"), text, "eval"), names)


def sending(number, to=("sleep", "30")) -> list:
    """A process that is sent a signal a little later, and is then interrupted."""
    process = ExecuteProcess(cmd=to)
    send, stop = (
        launch.actions.TimerAction(
            period=delay_s,
            actions=[
                launch.actions.EmitEvent(
                    event=launch.events.process.SignalProcess(
                        signal_number=which, process_matcher=matches_action(process)
                    )
                )
            ],
        )
        for delay_s, which in ((0.3, number), (0.6, "SIGKILL"))
    )
    return [process, send, *([stop] if to[0] == "sleep" else [])]


class Launched:
    """How launching entities went: `passed` what follows them was visited, `error` ended it."""

    def __init__(self, *entities) -> None:
        self.passed = False
        self.errors: list[str] = []
        follower = OpaqueFunction(function=lambda context: setattr(self, "passed", True))
        speaker = ExecuteProcess(cmd=["echo", "hello"])
        settings = [SetLaunchConfiguration(*item) for item in CONFIGURATIONS.items()]
        service = LaunchService(debug=True)
        service.include_launch_description(
            LaunchDescription([*settings, *entities, follower, speaker])
        )
        handler = logging.Handler()
        handler.emit = self._note
        logging.getLogger("launch").addHandler(handler)
        try:
            self.code = service.run()
        finally:
            logging.getLogger("launch").removeHandler(handler)

    def _note(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if record.exc_info:
            text += "\n" + "".join(traceback.format_exception(*record.exc_info))
        if "Traceback" in text:
            kinds = r"^(?:\w+\.)*(\w*(?:Error|Exception|Failure|Unexpected\w+))(?::|$)"
            self.errors.append(re.findall(kinds, text, re.MULTILINE)[-1])


def entities_of(thing) -> list:
    return list(thing) if isinstance(thing, list) else [thing]


@pytest.mark.parametrize(("text", "error", "when"), _rows(REFUSED))
def test_refused(text, error, when):
    expected = MALFORMED if error == "MALFORMED" else error
    if when == "at once":
        with pytest.raises(Exception) as raised:
            written(text)
        assert type(raised.value).__name__ == error
        return
    thing = written(text)
    if when == "when performed":
        context = LaunchContext()
        context.launch_configurations.update(CONFIGURATIONS)
        with pytest.raises(Exception) as raised:
            perform_substitutions(context, normalize_to_list_of_substitutions(thing))
        assert type(raised.value).__name__ == error
        return
    description = LaunchDescription(entities_of(thing))
    if when == "when described":
        with pytest.raises(Exception) as raised:
            description.get_launch_arguments()
        assert type(raised.value).__name__ == error
        return
    description.get_launch_arguments()
    launched = Launched(*entities_of(thing))
    assert launched.code == 1
    assert launched.passed == (when == "later")
    assert launched.errors[0] in expected


@pytest.mark.parametrize("text", [row[0] for row in _rows(ACCEPTED)])
def test_accepted(text):
    launched = Launched(*entities_of(written(text)))
    assert (launched.code, launched.passed, launched.errors) == (0, True, [])
